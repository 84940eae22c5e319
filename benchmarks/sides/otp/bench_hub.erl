%% Sends to every leaf, waits for every answer, and begins again.
-module(bench_hub).
-behaviour(gen_server).

-export([init/1, handle_call/3, handle_cast/2]).

-record(state, {watcher, leaves, width, rounds = 0, missing = 0, total = 0}).

init({Watcher, Leaves}) ->
    {ok, #state{watcher = Watcher, leaves = Leaves, width = length(Leaves)}}.

handle_call(total, _From, State) ->
    {reply, State#state.total, State}.

handle_cast({answer, N}, #state{missing = 1, total = Total} = State) ->
    {noreply, next_round(State#state{missing = 0, total = Total + N})};
handle_cast({answer, N}, #state{missing = Missing, total = Total} = State) ->
    {noreply, State#state{missing = Missing - 1, total = Total + N}};
handle_cast({go, Rounds}, State) ->
    {noreply, next_round(State#state{rounds = Rounds})}.

next_round(#state{rounds = 0, watcher = Watcher} = State) ->
    Watcher ! done,
    State;
next_round(#state{rounds = Rounds, leaves = Leaves, width = Width} = State) ->
    [gen_server:cast(Leaf, {hit, self()}) || Leaf <- Leaves],
    State#state{rounds = Rounds - 1, missing = Width}.
