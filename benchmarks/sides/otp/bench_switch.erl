%% A state machine with two states, toggled by calls.
-module(bench_switch).
-behaviour(gen_statem).

-export([callback_mode/0, init/1, off/3, on/3]).

callback_mode() -> state_functions.

init([]) -> {ok, off, []}.

off({call, From}, flip, Data) -> {next_state, on, Data, [{reply, From, 1}]}.

on({call, From}, flip, Data) -> {next_state, off, Data, [{reply, From, 0}]}.
