%% One place in the ring: counts the token's visits and passes it on.
-module(bench_node).
-behaviour(gen_server).

-export([init/1, handle_call/3, handle_cast/2]).

init(Watcher) ->
    {ok, {Watcher, none, 0}}.

handle_call({next, Next}, _From, {Watcher, _, Visits}) ->
    {reply, ok, {Watcher, Next, Visits}};
handle_call(visits, _From, {_, _, Visits} = State) ->
    {reply, Visits, State}.

handle_cast({token, 1}, {Watcher, Next, Visits}) ->
    Watcher ! done,
    {noreply, {Watcher, Next, Visits + 1}};
handle_cast({token, Left}, {Watcher, Next, Visits}) ->
    gen_server:cast(Next, {token, Left - 1}),
    {noreply, {Watcher, Next, Visits + 1}}.
