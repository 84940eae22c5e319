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
handle_call({cast, Counter, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    cast(Counter, 1, Size),
    Total = gen_server:call(Counter, {add, 0}),
    {reply, {seconds_since(Began), Total}, State};
handle_call({table_counter, Table, Size}, _From, State) ->
    Began = erlang:monotonic_time(),
    Total = count(Table, Size, 0),
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

count(_Table, 0, Total) ->
    Total;
count(Table, Left, Total) ->
    count(Table, Left - 1, Total + ets:update_counter(Table, counter, 1)).

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
