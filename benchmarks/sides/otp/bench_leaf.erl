%% Counts what it gets and answers the sender with its place and its count.
-module(bench_leaf).
-behaviour(gen_server).

-export([init/1, handle_call/3, handle_cast/2]).

init(Place) ->
    {ok, {Place, 0}}.

handle_call(_Message, _From, State) ->
    {reply, ok, State}.

handle_cast({hit, Hub}, {Place, Count}) ->
    gen_server:cast(Hub, {answer, Place + Count + 1}),
    {noreply, {Place, Count + 1}}.
