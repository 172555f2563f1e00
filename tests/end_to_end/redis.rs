//! Redis: the server and the clients of Debian, both sides held against what the programs say.

use crate::clients::python;
use crate::observe::Observed;
use crate::process::{self, Running};
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{Server, certificate, free_port, noise};

use pixie::Tracer;
use pixie::id::Role;
use pixie::record::{Address, Redis, RedisType, RedisValue};
use pixie::tls::OpenSsl;
use std::fs::{self, File};
use std::process::Command;

tests! {
    core: commands_and_answers;
    once: commands_and_answers_in_resp3, pipelines, a_subscription, a_large_value,
        a_unix_socket, inline_commands, passwords_are_not_kept, inside_tls;
}

fn redis(setup: &Setup, arguments: &[&str]) -> Result<Server, Skip> {
    let mut program = command("redis-server")?;
    let (folder, port) = (Server::prepare(), free_port());
    program.args(["--save", "", "--bind", "127.0.0.1", "--port", &port.to_string()]);
    program.args(["--unixsocket", "redis.sock"]).args(arguments).current_dir(folder.path());
    Ok(Server::start(setup, folder, port, program))
}

/// A client of the server, over TCP.
fn client(server: &Server, arguments: &[&str]) -> Result<Command, Skip> {
    let mut client = command("redis-cli")?;
    client.args(["-p", &server.port.to_string()]).args(arguments);
    Ok(client)
}

impl Observed {
    /// Exchanges of Redis in which the traced process had this role, in the order of time, but for
    /// what redis-cli asks of the commands by itself. That is a large answer, of which most is not
    /// captured.
    fn redis(&self, role: Role) -> Vec<&Redis> {
        let side = self.records.iter().filter_map(|record| match record {
            pixie::Record::Redis(redis) if redis.traffic.role == Some(role) => Some(&**redis),
            _ => None,
        });
        side.filter(|redis| !asks_of_commands(redis)).collect()
    }

    /// What each of these says in a line, without the connection.
    fn redis_lines(&self, role: Role) -> Vec<String> {
        self.redis(role).into_iter().map(line).collect()
    }
}

fn asks_of_commands(redis: &Redis) -> bool {
    redis.request.as_ref().is_some_and(|request| request.command == "COMMAND")
}

/// `GET key -> bulk 3`
fn line(redis: &Redis) -> String {
    let mut line = String::new();
    if let Some(request) = &redis.request {
        line += &request.command.to_string();
        for argument in request.arguments.iter().take(4) {
            line += &format!(" {}", String::from_utf8_lossy(argument.bytes));
        }
        assert!(request.complete, "{redis}");
    }
    match &redis.response {
        Some(response) => {
            let push = if response.push { "push " } else { "" };
            line += &format!(" -> {push}{} {}", response.kind.as_str(), response.size);
            assert!(response.complete, "{redis}");
        }
        None => line += " -> nothing",
    }
    line
}

const COMMANDS: &str = "SET key value\nGET key\nGET absent\nINCR number\nHSET hash a 1 b 2\n\
    HGETALL hash\nLPUSH key x\nMULTI\nINCR number\nEXEC\nEVAL 'return {1,{2},false}' 0\n";

const ANSWERED: [&str; 11] = [
    "SET key value -> simple 2",
    "GET key -> bulk 5",
    "GET absent -> null 0",
    "INCR number -> integer 0",
    "HSET hash a 1 b -> integer 0",
    "HGETALL hash -> array 4",
    "LPUSH key x -> error 65",
    "MULTI -> simple 2",
    "INCR number -> simple 6",
    "EXEC -> array 0",
    "EVAL return {1,{2},false} 0 -> array 0",
];

/// Lets a client say what it is told to, and holds both sides against that.
fn say(setup: &Setup, arguments: &[&str], expected: &[&str]) -> Result<Observed, Skip> {
    let server = redis(setup, &[])?;
    let client = client(&server, arguments)?;
    Ok(say_to(setup, setup.tracer_of(server.port), &server, client, expected))
}

fn say_to(
    setup: &Setup,
    tracer: Tracer,
    server: &Server,
    mut client: Command,
    expected: &[&str],
) -> Observed {
    let records = 2 * (expected.len() + 1);
    let (observed, pid) = setup.observe(tracer, records, || {
        let mut client = Running::start(&mut client);
        COMMANDS.lines().for_each(|line| client.say(line));
        let pid = client.pid();
        client.succeed();
        pid
    });
    for (role, pid) in [(Role::Client, pid), (Role::Server, server.pid())] {
        assert_eq!(observed.redis_lines(role), expected, "{role}");
        for redis in observed.redis(role) {
            assert_eq!(redis.traffic.process.pid.0, pid);
            assert!(redis.traffic.latency.is_some(), "{redis}");
        }
    }
    let bytes = |role| -> Vec<_> {
        let all = observed.redis(role).into_iter();
        all.map(|redis| (redis.traffic.request_bytes, redis.traffic.response_bytes)).collect()
    };
    assert_eq!(bytes(Role::Client), bytes(Role::Server));
    let errors = observed.redis(Role::Client).into_iter().filter(|redis| redis.is_error());
    assert_eq!(errors.count(), 1);
    observed
}

/// The records are those of the same commands in the clear.
fn inside_tls(setup: &Setup) -> Outcome {
    let (folder, port) = (Server::prepare(), free_port());
    certificate(folder.path());
    let mut program = command("redis-server")?;
    program.args(["--save", "", "--bind", "127.0.0.1", "--port", "0", "--tls-auth-clients", "no"]);
    program.args(["--tls-port", &port.to_string(), "--tls-cert-file", "cert.pem"]);
    program.args(["--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"]);
    program.current_dir(folder.path());
    let server = Server::start(setup, folder, port, program);
    let client = client(&server, &["--tls", "--insecure"])?;
    let tracer = setup.tracer_of(server.port).tls(OpenSsl).only_protocol("redis");
    let observed = say_to(setup, tracer, &server, client, &ANSWERED);
    observed.check_encrypted("openssl");
    Ok(())
}

fn commands_and_answers(setup: &Setup) -> Outcome {
    say(setup, &[], &ANSWERED).map(drop)
}

fn commands_and_answers_in_resp3(setup: &Setup) -> Outcome {
    let mut expected = vec!["HELLO 3 -> map 0"];
    expected.extend(ANSWERED);
    expected[6] = "HGETALL hash -> map 4";
    let server = redis(setup, &[])?;
    let mut hello = client(&server, &["-3", "PING"])?;
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 4, || process::run(&mut hello));
    // How much it says of itself depends on its version.
    let greeting = observed.redis_lines(Role::Client).swap_remove(0);
    assert!(greeting.starts_with("HELLO 3 -> map "), "{greeting}");
    expected[0] = &greeting;
    let observed = say(setup, &["-3"], &expected)?;
    let hash = observed.redis(Role::Server)[6].response.as_ref().unwrap();
    let text = |text: &'static str| RedisValue::Text(text.into());
    let pairs = vec![(text("a"), text("1")), (text("b"), text("2"))];
    assert_eq!((hash.kind, &hash.value), (RedisType::Map, &RedisValue::Map(pairs)));
    Ok(())
}

/// What a benchmark sends is counted exactly, on both sides.
fn pipelines(setup: &Setup) -> Outcome {
    const REQUESTS: usize = 16_000;
    /// Room for all of it, should the tracer be slow.
    const AMPLE: usize = 64 << 20;
    let server = redis(setup, &[])?;
    let mut benchmark = command("redis-benchmark")?;
    benchmark.args(["-p", &server.port.to_string(), "-P", "16", "-c", "10", "-q"]);
    benchmark.args(["-r", "1000", "-t", "set,get", "-n", &REQUESTS.to_string()]);
    let expected = 2 * (2 * REQUESTS + 2);
    let tracer = setup.tracer_of(server.port).ring_bytes(AMPLE);
    let (observed, _) = setup.observe(tracer, expected, || process::run(&mut benchmark));
    for role in [Role::Client, Role::Server] {
        for (name, kinds) in [
            ("SET", &[RedisType::Simple][..]),
            ("GET", &[RedisType::Bulk, RedisType::Null]),
            ("CONFIG", &[RedisType::Array]),
        ] {
            let of_name = observed.redis(role).into_iter().filter(|redis| {
                redis.request.as_ref().is_some_and(|request| request.command == name)
            });
            let mut count = 0;
            for redis in of_name {
                let response = redis.response.as_ref().unwrap_or_else(|| panic!("{redis}"));
                assert!(kinds.contains(&response.kind), "{redis}");
                count += 1;
            }
            // It asks for two settings before it begins.
            assert_eq!(count, if name == "CONFIG" { 2 } else { REQUESTS }, "{name} by the {role}");
        }
        assert_eq!(observed.redis(role).len(), 2 * REQUESTS + 2, "records of the {role}");
    }
    Ok(())
}

fn a_subscription(setup: &Setup) -> Outcome {
    const MESSAGES: usize = 20;
    for version in ["-2", "-3"] {
        let server = redis(setup, &[])?;
        let greetings = 2 * usize::from(version == "-3");
        // The subscription and its messages, and what is published, on both sides.
        let expected = 2 * (1 + 2 * MESSAGES) + greetings;
        let (observed, ()) = setup
            .observe(setup.tracer_of(server.port), expected, || {
                let mut subscriber = client(&server, &[version, "SUBSCRIBE", "news"])?;
                let mut subscriber = Running::start(&mut subscriber);
                while subscriber.line().is_some_and(|line| line != "1" && line != "3) (integer) 1")
                {
                }
                for number in 0..MESSAGES {
                    let message = format!("message {number}");
                    process::run(&mut client(&server, &["PUBLISH", "news", &message])?);
                }
                // Until the last one has come.
                let last = format!("message {}", MESSAGES - 1);
                while subscriber.line().is_some_and(|line| !line.contains(&last)) {}
                Ok(())
            })
            .map_ok()?;
        for role in [Role::Client, Role::Server] {
            let all = observed.redis(role);
            let pushed = all.iter().filter(|redis| redis.request.is_none());
            let pushed: Vec<_> = pushed.filter_map(|redis| redis.response.as_ref()).collect();
            assert_eq!(pushed.len(), MESSAGES, "messages at the {role}");
            for (number, response) in pushed.into_iter().enumerate() {
                assert!(response.push);
                let RedisValue::List(values) = &response.value else { panic!("{response:?}") };
                let text = format!("message {number}");
                assert_eq!(values.last(), Some(&RedisValue::Text(text.into())));
            }
            let lines = observed.redis_lines(role);
            let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
            assert_eq!(count("SUBSCRIBE news -> "), 1, "{lines:?}");
            assert_eq!(count("PUBLISH news message"), MESSAGES, "{lines:?}");
        }
    }
    Ok(())
}

/// Lets a skip inside of what is observed be one of the test.
trait MapOk {
    type Ok;
    fn map_ok(self) -> Result<Self::Ok, Skip>;
}

impl<T> MapOk for (Observed, Result<T, Skip>) {
    type Ok = (Observed, T);
    fn map_ok(self) -> Result<Self::Ok, Skip> {
        Ok((self.0, self.1?))
    }
}

fn a_large_value(setup: &Setup) -> Outcome {
    const SIZE: usize = 10 << 20;
    let server = redis(setup, &[])?;
    let (file, got) = (server.file("value"), server.file("got"));
    fs::write(&file, noise(SIZE)).unwrap();
    let mut set = client(&server, &["-x", "SET", "large"])?;
    let mut get = client(&server, &["--raw", "GET", "large"])?;
    let (observed, ()) = setup.observe(setup.tracer_of(server.port), 4, || {
        for (command, input, output) in
            [(&mut set, Some(&file), None), (&mut get, None, Some(&got))]
        {
            if let Some(input) = input {
                command.stdin(File::open(input).unwrap());
            }
            command.stdout(File::create(output.unwrap_or(&server.file("said"))).unwrap());
            assert!(command.status().unwrap().success());
        }
    });
    assert_eq!(fs::metadata(&got).unwrap().len(), SIZE as u64 + 1, "what the client got");
    for role in [Role::Client, Role::Server] {
        let [set, get] = &observed.redis(role)[..] else { panic!("records of the {role}") };
        let arguments = &set.request.as_ref().unwrap().arguments;
        assert_eq!(arguments.size(), (SIZE + "large".len()) as u64, "{role}");
        let value = arguments.get(1).unwrap();
        assert!(!value.bytes.is_empty() && noise(SIZE).starts_with(value.bytes), "{role}");
        let response = get.response.as_ref().unwrap();
        assert_eq!((response.size, response.complete), (SIZE as u64, true), "{role}");
        assert!(response.truncated);
        assert!(get.traffic.response_bytes > SIZE as u64 && get.traffic.latency.is_some());
    }
    assert_eq!(observed.stats.parser.malformed, 0);
    Ok(())
}

fn a_unix_socket(setup: &Setup) -> Outcome {
    let server = redis(setup, &[])?;
    let socket = server.file("redis.sock");
    let mut client = command("redis-cli")?;
    client.arg("-s").arg(&socket).args(["SET", "key", "value"]);
    let tracer = setup.tracer().pid(server.pid());
    let (observed, _) = setup.observe(tracer, 1, || process::run(&mut client));
    assert_eq!(observed.redis_lines(Role::Server), ["SET key value -> simple 2"]);
    let connection = &observed.redis(Role::Server)[0].traffic.connection;
    assert!(matches!(connection.local, Some(Address::Unix(_))), "{connection:?}");
    Ok(())
}

/// Sends lines as a person would type them, one by one and all at once.
const INLINE: &str = r#"
import socket, sys
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
answers = server.makefile("rb")
for line in b"LPUSH list 'a b'\r\n", b"llen list\n", b"PING\r\nset key \"va\\x6cue\"\r\n":
    server.sendall(line)
    for _ in range(line.count(b"\n")):
        assert answers.readline()[:1] in b":+"
"#;

fn inline_commands(setup: &Setup) -> Outcome {
    let server = redis(setup, &[])?;
    let mut client = python(INLINE, &[&server.port.to_string()])?;
    let tracer = setup.tracer_of(server.port);
    let (observed, _) = setup.observe(tracer, 8, || process::run(&mut client));
    for role in [Role::Client, Role::Server] {
        let expected = [
            "LPUSH list a b -> integer 0",
            "LLEN list -> integer 0",
            "PING -> simple 4",
            "SET key value -> simple 2",
        ];
        assert_eq!(observed.redis_lines(role), expected, "{role}");
    }
    Ok(())
}

fn passwords_are_not_kept(setup: &Setup) -> Outcome {
    const PASSWORD: &str = "correct-horse";
    let server = redis(setup, &["--requirepass", PASSWORD])?;
    let mut client = client(&server, &["--no-auth-warning", "-a", PASSWORD])?;
    let (observed, ()) = setup.observe(setup.tracer_of(server.port), 12, || {
        let mut client = Running::start(&mut client);
        client.say("CONFIG GET requirepass");
        client.say(&format!("CONFIG SET requirepass {PASSWORD}"));
        client.say(&format!("ACL SETUSER somebody on >{PASSWORD}"));
        client.say("ACL LIST");
        client.succeed();
    });
    for role in [Role::Client, Role::Server] {
        let commands: Vec<String> = observed
            .redis(role)
            .iter()
            .map(|redis| redis.request.as_ref().unwrap().command.to_string())
            .collect();
        assert_eq!(commands, ["AUTH", "CONFIG", "CONFIG", "ACL", "ACL"], "{role}");
    }
    let told = format!("{:?}", observed.records);
    assert!(!told.contains(PASSWORD));
    // Nor its hash.
    for redis in observed.redis(Role::Client) {
        assert!(!format!("{:?}", redis.response).contains('#'), "{redis:?}");
    }
    Ok(())
}
