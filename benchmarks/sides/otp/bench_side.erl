%% Runs one row and prints one line of JSON. The rules are those of protocol.py: batches to
%% warm up for a fifth of Seconds, then batches for Seconds, and the median of the latter;
%% with Seconds 0 exactly one batch. Every batch runs in a process of its own, so that none
%% pays for another's heap.
-module(bench_side).

-export([main/1]).

-define(WARM_SHARE, 0.2).
-define(RING_ACTORS, 1000).
-define(FANOUT_ACTORS, 1000).
-define(WARM_IDLE, 1000).

main([RowText, SizeText, SecondsText]) ->
    Row = list_to_existing_atom(RowText),
    crash_reports(Row),
    Size = list_to_integer(SizeText),
    Seconds = list_to_float(SecondsText),
    case catch measure(Row, Size, Seconds) of
        {ok, Figures, [Checksum]} ->
            io:format("{\"figure\": ~w, \"checksum\": ~w, \"batches\": ~w}~n",
                      [median(Figures), Checksum, length(Figures)]),
            halt(0);
        {ok, _, Checksums} ->
            io:format(standard_error, "batches of one size must have one checksum, got ~w~n",
                      [Checksums]),
            halt(1);
        Failure ->
            io:format(standard_error, "~p~n", [Failure]),
            halt(1)
    end.

%% `restart` writes every report as text, with the handler and the format that OTP ships with,
%% to a file that keeps nothing; in the other rows nobody asks for reports.
crash_reports(restart) ->
    ok = logger:remove_handler(default),
    ok = logger:add_handler(default, logger_std_h,
                            #{config => #{type => file, file => "/dev/null"}});
crash_reports(_) ->
    ok = logger:set_primary_config(level, none).

measure(Row, Size, Seconds) when Seconds == 0 ->
    {Figures, Checksum} = batch(Row, Size),
    {ok, Figures, [Checksum]};
measure(Row, Size, Seconds) ->
    {_, Warm} = batches(Row, Size, Seconds * ?WARM_SHARE),
    {Figures, Checksums} = batches(Row, Size, Seconds),
    {ok, Figures, lists:usort(Warm ++ Checksums)}.

batches(Row, Size, Seconds) ->
    batches(Row, Size, Seconds, erlang:monotonic_time(), [], []).

batches(Row, Size, Seconds, Since, Figures, Checksums) ->
    {New, Checksum} = batch(Row, Size),
    All = New ++ Figures,
    Seen = lists:usort([Checksum | Checksums]),
    case seconds_since(Since) >= Seconds of
        true -> {All, Seen};
        false -> batches(Row, Size, Seconds, Since, All, Seen)
    end.

batch(Row, Size) ->
    erlang:garbage_collect(),
    {Pid, Monitor} = spawn_monitor(fun() -> exit({batch, row(Row, Size)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {batch, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> throw({batch_failed, Row, Reason})
    end.

row(call, Size) -> between_two(call, Size);
row(cast, Size) -> between_two(cast, Size);
row(start, Size) -> start(Size);
row(idle_bytes, Size) -> idle_bytes(Size);
row(ring, Size) -> ring(Size);
row(fanout, Size) -> fanout(Size);
row(table_counter, Size) -> table_counter(Size);
row(restart, Size) -> restart(Size);
row(restart_quiet, Size) -> restart(Size).

between_two(Row, Size) ->
    {ok, Counter} = gen_server:start(bench_counter, 0, []),
    {ok, Driver} = gen_server:start(bench_driver, [], []),
    {Seconds, Total} = gen_server:call(Driver, {Row, Counter, Size}, infinity),
    stop([Driver, Counter]),
    {[Size / Seconds], Total}.

%% The batch's own process owns the table and another one counts in it.
table_counter(Size) ->
    Table = ets:new(counters, [set, public]),
    true = ets:insert(Table, {counter, 0}),
    {ok, Driver} = gen_server:start(bench_driver, [], []),
    {Seconds, Total} = gen_server:call(Driver, {table_counter, Table, Size}, infinity),
    stop([Driver]),
    true = ets:delete(Table),
    {[Size / Seconds], Total}.

start(Size) ->
    {ok, Driver} = gen_server:start(bench_driver, [], []),
    {Seconds, Started} = gen_server:call(Driver, {start, Size}, infinity),
    Total = sum_of_replies(Started, 0),
    stop([Driver | Started]),
    {[Size / Seconds], Total}.

%% The smaller of two measures counts: what the emulator says that it uses, and what the
%% operating system says that it holds.
idle_bytes(Size) ->
    Warm = start_counters(0, ?WARM_IDLE),
    _ = sum_of_replies(Warm, 1),
    {Used, Resident} = memory(),
    Started = start_counters(0, Size),
    Total = sum_of_replies(Started, 1),
    {UsedAfter, ResidentAfter} = memory(),
    stop(Warm ++ Started),
    {[min(UsedAfter - Used, ResidentAfter - Resident) / Size], Total}.

memory() ->
    erlang:garbage_collect(),
    {erlang:memory(total), resident_bytes()}.

resident_bytes() ->
    {ok, Status} = file:open("/proc/self/status", [read, raw, binary]),
    {ok, Text} = file:read(Status, 65536),
    ok = file:close(Status),
    {match, [Kilobytes]} =
        re:run(Text, "VmRSS:\\s+(\\d+) kB", [{capture, all_but_first, list}]),
    list_to_integer(Kilobytes) * 1024.

ring(Size) ->
    Nodes = [begin {ok, Node} = gen_server:start(bench_node, self(), []), Node end
             || _ <- lists:seq(1, ?RING_ACTORS)],
    [First | Others] = Nodes,
    lists:foreach(fun({Node, Next}) -> ok = gen_server:call(Node, {next, Next}) end,
                  lists:zip(Nodes, Others ++ [First])),
    Began = erlang:monotonic_time(),
    gen_server:cast(First, {token, Size}),
    receive done -> ok end,
    Seconds = seconds_since(Began),
    Places = lists:zip(lists:seq(1, ?RING_ACTORS), Nodes),
    Total = lists:sum([Place * gen_server:call(Node, visits) || {Place, Node} <- Places]),
    stop(Nodes),
    {[Size / Seconds], Total}.

fanout(Size) ->
    Leaves = [begin {ok, Leaf} = gen_server:start(bench_leaf, Place, []), Leaf end
              || Place <- lists:seq(0, ?FANOUT_ACTORS - 1)],
    {ok, Hub} = gen_server:start(bench_hub, {self(), Leaves}, []),
    Began = erlang:monotonic_time(),
    gen_server:cast(Hub, {go, Size div (2 * ?FANOUT_ACTORS)}),
    receive done -> ok end,
    Seconds = seconds_since(Began),
    Total = gen_server:call(Hub, total),
    stop([Hub | Leaves]),
    {[Size / Seconds], Total}.

%% The next incarnation says when it is up, so that nobody has to poll for it.
restart(Size) ->
    Name = bench_restarted,
    {ok, Supervisor} = supervisor:start_link(bench_sup, {Name, self()}),
    receive {up, _} -> ok end,
    Samples = [restart_once(Name, I) || I <- lists:seq(1, Size)],
    unlink(Supervisor),
    exit(Supervisor, shutdown),
    Monitor = monitor(process, Supervisor),
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    {Figures, Replies} = lists:unzip(Samples),
    {Figures, lists:sum(Replies)}.

restart_once(Name, I) ->
    Began = erlang:monotonic_time(),
    gen_server:cast(Name, crash),
    receive {up, _} -> ok end,
    Reply = gen_server:call(Name, {add, I}),
    {seconds_since(Began), Reply}.

start_counters(First, End) ->
    [begin {ok, Pid} = gen_server:start(bench_counter, I, []), Pid end
     || I <- lists:seq(First, End - 1)].

sum_of_replies(Pids, N) ->
    lists:foldl(fun(Pid, Total) -> Total + gen_server:call(Pid, {add, N}) end, 0, Pids).

stop(Pids) ->
    lists:foreach(fun gen_server:stop/1, Pids).

median(Figures) ->
    Sorted = lists:sort(Figures),
    Length = length(Sorted),
    Middle = lists:nth((Length + 1) div 2, Sorted),
    case Length rem 2 of
        1 -> Middle;
        0 -> (Middle + lists:nth(Length div 2 + 1, Sorted)) / 2
    end.

seconds_since(Began) ->
    (erlang:monotonic_time() - Began) / erlang:convert_time_unit(1, second, native).
