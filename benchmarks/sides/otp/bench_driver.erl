%% The actor that calls, casts to and starts others, and times it.
-module(bench_driver).
-behaviour(gen_server).

-export([init/1, handle_call/3, handle_cast/2]).

init([]) ->
    {ok, none}.

handle_call({call, Counter, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    Total = call(Counter, Size, 0),
    {reply, {seconds_since(Began), Total}, State};
handle_call({flip, Switch, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    Total = flip(Switch, Size, 0),
    {reply, {seconds_since(Began), Total}, State};
handle_call({count, Table, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    Total = count(Table, Size, 0),
    {reply, {seconds_since(Began), Total}, State};
handle_call({router, Counters, Size}, _From, State) ->
    Count = tuple_size(Counters),
    Busy = atomics:new(Count, []),
    Began = erlang:monotonic_time(),
    Total = route(Counters, Count, Busy, 1, Size, 0),
    {reply, {seconds_since(Began), Total}, State};
handle_call({cast, Counter, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    cast(Counter, 1, Size),
    Total = gen_server:call(Counter, {add, 0}),
    {reply, {seconds_since(Began), Total}, State};
handle_call({start, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    Started = start(0, Size, []),
    {reply, {seconds_since(Began), Started}, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

call(_Counter, 0, Total) ->
    Total;
call(Counter, Left, Total) ->
    call(Counter, Left - 1, Total + gen_server:call(Counter, {add, 1})).

flip(_Switch, 0, Total) ->
    Total;
flip(Switch, Left, Total) ->
    flip(Switch, Left - 1, Total + gen_statem:call(Switch, flip)).

count(_Table, 0, Value) ->
    Value;
count(Table, Left, _Value) ->
    count(Table, Left - 1, ets:update_counter(Table, hits, 1)).

%% The least busy one, looked for from Next on; counts are atomics, as of a router with many senders.
route(_Counters, _Count, _Busy, _Next, 0, Total) ->
    Total;
route(Counters, Count, Busy, Next, Left, Total) ->
    At = least(Busy, Count, Next, Count, Next, infinity),
    atomics:add(Busy, At, 1),
    Reply = gen_server:call(element(At, Counters), {add, 1}),
    atomics:sub(Busy, At, 1),
    route(Counters, Count, Busy, At rem Count + 1, Left - 1, Total + Reply).

least(_Busy, _Count, _At, 0, Best, _Least) ->
    Best;
least(Busy, Count, At, Left, Best, Least) ->
    case atomics:get(Busy, At) of
        0 -> At;
        N when N < Least -> least(Busy, Count, At rem Count + 1, Left - 1, At, N);
        _ -> least(Busy, Count, At rem Count + 1, Left - 1, Best, Least)
    end.

cast(_Counter, I, Size) when I > Size ->
    ok;
cast(Counter, I, Size) ->
    gen_server:cast(Counter, {add, I}),
    cast(Counter, I + 1, Size).

start(Size, Size, Started) ->
    Started;
start(I, Size, Started) ->
    {ok, Pid} = gen_server:start(bench_counter, I, []),
    start(I + 1, Size, [Pid | Started]).

seconds_since(Began) ->
    (erlang:monotonic_time() - Began) / erlang:convert_time_unit(1, second, native).
