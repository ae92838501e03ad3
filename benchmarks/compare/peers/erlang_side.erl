%% The near side of peers/erlang.py: one command a line, one JSON document a line. Bare send and receive between two nodes.
-module(erlang_side).
-export([main/1, worker/1, boss/0, init/1, child/0]).
-behaviour(supervisor).

main(There) ->
    ok = connected(There, 500),
    Workers = [spawn(There, ?MODULE, worker, [0]) || _ <- lists:seq(1, 8)],
    Boss = spawn(There, ?MODULE, boss, []),
    Boss ! {up, self()},
    receive up -> ok end,
    io:format("\"~s\"~n", [erlang:system_info(otp_release)]),
    commands(There, Workers).

connected(There, Tries) when Tries > 0 ->
    case net_kernel:connect_node(There) of
        true -> ok;
        false -> timer:sleep(20), connected(There, Tries - 1)
    end.

commands(There, Workers) ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            [Verb | Arguments] = string:lexemes(string:trim(Line), " "),
            io:format("~s~n", [json(run(Verb, [number(A) || A <- Arguments], There, Workers))]),
            commands(There, Workers)
    end.

run("ask", [Seconds], _, [Worker | _]) -> in_turn(Worker, fun question/1, Seconds);
run("asks", [Seconds], _, [Worker | _]) ->
    Start = now_ns(),
    [Worker ! {self(), question(I)} || I <- lists:seq(1, 64)],
    Count = window(Worker, Start + ns(Seconds), 0),
    [receive {Worker, _} -> ok end || _ <- lists:seq(1, 64)],
    [Count + 64, seconds_since(Start)];
run("tells", [To, Seconds], _, Workers) ->
    Some = lists:sublist(Workers, To),
    Start = now_ns(),
    Sent = tells(Some, Start + ns(Seconds), 0),
    Received = lists:sum([ask(Worker, count) || Worker <- Some]),
    [Sent, Received, seconds_since(Start)];
run("between", [Seconds], _, [Worker | _]) ->
    %% from a process of this node to one of the other: within one node nothing would be sent
    Self = self(),
    spawn(fun() -> Self ! {taken, in_turn(Worker, fun question/1, Seconds)} end),
    receive {taken, Taken} -> Taken end;
run("echo", [Seconds], _, [Worker | _]) ->
    Data = rand:bytes(1048576),
    Start = now_ns(),
    Taken = in_turn(Worker, fun(_) -> Data end, Seconds),
    [length(Taken), seconds_since(Start)];
run("spawn", [Count], There, _) ->
    Start = now_ns(),
    More = [spawn(There, ?MODULE, worker, [0]) || _ <- lists:seq(1, Count)],
    [Worker ! {self(), question(0)} || Worker <- More],
    [receive {Worker, _} -> ok end || Worker <- More],
    seconds_since(Start);
run("kill", [], There, _) ->
    Old = asked_by_name({child, There}),
    Start = now_ns(),
    exit(Old, kill),
    again({child, There}, Old),
    seconds_since(Start).

question(Id) -> {question, Id, <<"process">>, [<<"a">>, <<"b">>], <<"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx">>}.
job(Id) -> setelement(1, question(Id), job).

worker(Count) ->
    receive
        {From, {question, Id, _, _, _}} -> From ! {self(), Id}, worker(Count);
        {job, _, _, _, _} -> worker(Count + 1);
        {From, count} -> From ! {self(), Count}, worker(0);
        {From, pid} -> From ! {pid, self()}, worker(Count);
        {From, Data} when is_binary(Data) -> From ! {self(), Data}, worker(Count)
    end.

ask(Worker, Message) -> Worker ! {self(), Message}, receive {Worker, Answer} -> Answer end.

in_turn(Worker, Make, Seconds) -> in_turn(Worker, Make, now_ns() + ns(Seconds), 0, []).
in_turn(Worker, Make, Until, Number, Taken) ->
    Start = now_ns(),
    case Start >= Until andalso Taken /= [] of
        true -> Taken;
        false -> ask(Worker, Make(Number)), in_turn(Worker, Make, Until, Number + 1, [now_ns() - Start | Taken])
    end.

window(Worker, Until, Count) ->
    case now_ns() < Until of
        true -> receive {Worker, _} -> ok end, Worker ! {self(), question(Count)}, window(Worker, Until, Count + 1);
        false -> Count
    end.

tells(Workers, Until, Sent) ->
    case now_ns() < Until of
        true -> [Worker ! job(Sent) || Worker <- Workers], tells(Workers, Until, Sent + length(Workers));
        false -> Sent
    end.

%% a supervisor on the far node, and its one child under a name
boss() ->
    {ok, _} = supervisor:start_link(?MODULE, []),
    receive {up, From} -> From ! up end,
    receive never -> ok end.

init([]) -> {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, [#{id => child, start => {?MODULE, child, []}}]}}.
child() -> Pid = spawn_link(?MODULE, worker, [0]), register(child, Pid), {ok, Pid}.

asked_by_name(Name) -> Name ! {self(), pid}, receive {pid, Pid} -> Pid after 1 -> asked_by_name(Name) end.
again(Name, Old) -> case asked_by_name(Name) of Old -> again(Name, Old); New -> New end.

now_ns() -> erlang:monotonic_time(nanosecond).
ns(Seconds) -> round(Seconds * 1.0e9).
seconds_since(Start) -> (now_ns() - Start) / 1.0e9.
number(Text) -> case string:to_float(Text) of {error, no_float} -> list_to_integer(Text); {Float, _} -> Float end.
json(List) when is_list(List) -> ["[", lists:join(",", [json(Item) || Item <- List]), "]"];
json(Float) when is_float(Float) -> io_lib:format("~.9f", [Float]);
json(Integer) -> integer_to_list(Integer).
