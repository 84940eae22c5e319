%% Supervises one counter that may crash as often as the row wants.
-module(bench_sup).
-behaviour(supervisor).

-export([init/1]).

init({Name, Watcher}) ->
    Flags = #{strategy => one_for_one, intensity => 1000, period => 1},
    Child = #{id => Name, start => {bench_counter, start_watched, [Name, Watcher]}},
    {ok, {Flags, [Child]}}.
