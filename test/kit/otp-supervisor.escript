#!/usr/bin/env escript
%% Supervisors of Erlang/OTP, driven by cases on the standard input, one term each:
%%
%%   {Strategy, Intensity, AutoShutdown, [{Id, Restart, Significant}], [Fall], [Step]}.
%%   Fall: {During, crash | normal, Id}: so Id ends while During is first being started
%%   Step: {crash, Id} | {normal, Id} | {remove, Id} | {add, {Id, Restart, Significant}}
%%       | {both, First, Second}: crash in this order, before the supervisor hears of the first
%%
%% The first line of the output is the release. Then, for each case, one line for the start, one for
%% each step while the supervisor lives, and an empty one. A line tells who started (+) and who was
%% stopped by the supervisor (-) in this step, in this order; who is alive now; how often each was
%% started so far; and what became of the supervisor: alive, shutdown or gave_up.
-module(otp_supervisor).
-mode(compile).
-export([main/1, init/1, start_child/1, start_child/2, log/2]).

main(_) ->
    logger:remove_handler(default),
    logger:add_handler(verdicts, ?MODULE, #{}),
    process_flag(trap_exit, true),
    ets:new(lives, [named_table, public, ordered_set]),
    io:format("~s~n", [erlang:system_info(otp_release)]),
    cases().

cases() ->
    case io:read(standard_io, '') of
        eof -> ok;
        {ok, {Strategy, Intensity, AutoShutdown, Children, Falls, Steps}} ->
            ets:delete_all_objects(lives),
            ets:insert(lives, {falls, Falls}),
            {ok, Supervisor} =
                supervisor:start_link(?MODULE, {Strategy, Intensity, AutoShutdown, Children}),
            case Strategy of
                simple_one_for_one ->
                    [supervisor:start_child(Supervisor, [Id]) || {Id, _, _} <- Children];
                _ -> ok
            end,
            tell_steps(Supervisor, Strategy, Steps),
            io:format("~n"),
            cases()
    end.

init({simple_one_for_one, Intensity, AutoShutdown, [{_, Restart, _} | _]}) ->
    Child = #{id => child, start => {?MODULE, start_child, []}, restart => Restart},
    {ok, {flags(simple_one_for_one, Intensity, AutoShutdown), [Child]}};
init({Strategy, Intensity, AutoShutdown, Children}) ->
    {ok, {flags(Strategy, Intensity, AutoShutdown), [spec(Child) || Child <- Children]}}.

%% The period is so long that only counts matter.
flags(Strategy, Intensity, AutoShutdown) ->
    #{strategy => Strategy, intensity => Intensity, period => 86400,
      auto_shutdown => AutoShutdown}.

spec({Id, Restart, Significant}) ->
    #{id => Id, start => {?MODULE, start_child, [Id]}, restart => Restart,
      significant => Significant}.

start_child(Id) ->
    ets:update_counter(lives, {starts, Id}, 1, {{starts, Id}, 0}),
    record("+", Id),
    Supervisor = self(),
    fall_during(Supervisor, Id),
    %% Before it traps exits it could be stopped without recording that.
    Pid = spawn_link(fun() ->
        process_flag(trap_exit, true),
        Supervisor ! {up, self()},
        live(Id, Supervisor)
    end),
    receive {up, Pid} -> ok end,
    ets:insert(lives, {{pid, Id}, Pid}),
    {ok, Pid}.

start_child(_, Id) -> start_child(Id).

%% Runs in the supervisor, which hears of the ends when it is through with the start of all.
fall_during(Supervisor, Id) ->
    [{_, Falls}] = ets:lookup(lives, falls),
    {Now, Later} = lists:partition(fun({During, _, _}) -> During =:= Id end, Falls),
    ets:insert(lives, {falls, Later}),
    [end_unheard(Supervisor, Falling, Reason) || {_, Reason, Falling} <- Now].

live(Id, Supervisor) ->
    receive
        {'EXIT', Supervisor, Reason} -> record("-", Id), exit(Reason);
        {finish, Reason} -> exit(Reason)
    end.

record(Sign, Id) ->
    Next = ets:update_counter(lives, written, 1, {written, 0}),
    ets:insert(lives, {{log, Next}, Sign ++ atom_to_list(Id)}).

%% What fell in the first start may have ended the supervisor before the first step.
tell_steps(Supervisor, Strategy, Steps) ->
    case tell(Supervisor) of
        alive -> steps(Supervisor, Strategy, Steps);
        _ -> ok
    end.

steps(_, _, []) -> ok;
steps(Supervisor, Strategy, [Step | Steps]) ->
    [ets:delete(lives, Key) || {{log, _} = Key, _} <- ets:tab2list(lives)],
    step(Supervisor, Strategy, Step),
    tell_steps(Supervisor, Strategy, Steps).

step(Supervisor, _, {crash, Id}) -> finish(Supervisor, Id, crash);
step(Supervisor, _, {normal, Id}) -> finish(Supervisor, Id, normal);
step(Supervisor, _, {both, First, Second}) ->
    sys:suspend(Supervisor),
    Pids = [Pid || Id <- [First, Second], Pid <- end_unheard(Supervisor, Id, crash)],
    sys:resume(Supervisor),
    [await(Supervisor, Pid) || Pid <- Pids];
step(Supervisor, simple_one_for_one, {remove, Id}) ->
    case pid(Id) of
        none -> ok;
        Pid -> supervisor:terminate_child(Supervisor, Pid)
    end;
step(Supervisor, _, {remove, Id}) ->
    supervisor:terminate_child(Supervisor, Id),
    supervisor:delete_child(Supervisor, Id);
step(Supervisor, simple_one_for_one, {add, {Id, _, _}}) ->
    case pid(Id) of
        none -> supervisor:start_child(Supervisor, [Id]);
        _ -> ok
    end;
step(Supervisor, _, {add, Child}) -> supervisor:start_child(Supervisor, spec(Child)).

finish(Supervisor, Id, Reason) ->
    case pid(Id) of
        none -> ok;
        Pid -> Pid ! {finish, Reason}, await(Supervisor, Pid)
    end.

end_unheard(Supervisor, Id, Reason) ->
    case pid(Id) of
        none -> [];
        Pid ->
            {_, Before} = process_info(Supervisor, message_queue_len),
            Pid ! {finish, Reason},
            await_message(Supervisor, Before),
            [Pid]
    end.

await_message(Supervisor, Before) ->
    case process_info(Supervisor, message_queue_len) of
        {_, Now} when Now > Before -> ok;
        _ -> erlang:yield(), await_message(Supervisor, Before)
    end.

%% Once its supervisor no longer knows the process, whatever follows from its end has happened.
await(Supervisor, Pid) ->
    try supervisor:which_children(Supervisor) of
        Children ->
            case lists:keymember(Pid, 2, Children) of
                true -> erlang:yield(), await(Supervisor, Pid);
                false -> ok
            end
    catch
        exit:_ -> ok
    end.

pid(Id) ->
    case ets:lookup(lives, {pid, Id}) of
        [{_, Pid}] -> case is_process_alive(Pid) of true -> Pid; false -> none end;
        [] -> none
    end.

tell(Supervisor) ->
    Verdict = verdict(Supervisor),
    Lives = ets:tab2list(lives),
    Log = [Line || {{log, _}, Line} <- Lives],
    Alive = [atom_to_list(Id) || {{pid, Id}, Pid} <- Lives, is_process_alive(Pid)],
    Starts = [io_lib:format("~s:~b", [Id, Count]) || {{starts, Id}, Count} <- Lives],
    io:format("~s | ~s | ~s | ~s~n",
              [lists:join(" ", Log), lists:join(" ", Alive), lists:join(" ", Starts), Verdict]),
    Verdict.

%% It is alive when it answers, for it answers only between one thing and the next.
verdict(Supervisor) ->
    try supervisor:count_children(Supervisor) of
        _ -> alive
    catch
        exit:_ ->
            receive
                {'EXIT', Supervisor, shutdown} ->
                    case ets:member(lives, gave_up) of true -> gave_up; false -> shutdown end
            end
    end.

%% Called by the logger in the process of the supervisor: both ends have the reason `shutdown`.
log(#{msg := {report, #{label := {supervisor, shutdown}, report := Report}}}, _) ->
    case proplists:get_value(reason, Report) of
        reached_max_restart_intensity -> ets:insert(lives, {gave_up, true});
        _ -> ok
    end;
log(_, _) -> ok.
