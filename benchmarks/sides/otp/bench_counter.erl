%% Adds up and answers with the sum. Crashes when told to.
-module(bench_counter).
-behaviour(gen_server).

-export([start_watched/2]).
-export([init/1, handle_call/3, handle_cast/2]).

%% Started by a supervisor, under a name; Watcher hears of every incarnation.
start_watched(Name, Watcher) ->
    gen_server:start_link({local, Name}, ?MODULE, {watched, Watcher}, []).

init({watched, Watcher}) ->
    Watcher ! {up, self()},
    {ok, 0};
init(Value) ->
    {ok, Value}.

handle_call({add, N}, _From, Value) ->
    {reply, Value + N, Value + N}.

handle_cast({add, N}, Value) ->
    {noreply, Value + N};
handle_cast(crash, _Value) ->
    error(asked_to_crash).
