//! PostgreSQL 15: the server and the clients of Debian, both sides held against what the programs
//! say.

use crate::clients::python;
use crate::encrypted::Client;
use crate::fetch::python_packages;
use crate::observe::Observed;
use crate::process::{self, Running};
use crate::programs::{Facts, command, find};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::{Server, certificate, free_port};

use pixie::id::Role;
use pixie::record::{Postgres, PostgresCommand, PostgresCopyDirection};
use pixie::tls::OpenSsl;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

tests! {
    core: queries_of_psql;
    once: pgbench_simple, pgbench_extended, pgbench_prepared, pgbench_pipelines, copies,
        a_notification, a_statement_is_cancelled, encryption_is_refused_or_accepted,
        passwords_are_not_kept, a_base_backup, a_large_result, a_unix_socket, inside_tls,
        inside_tls_of_a_wheel;
}

/// The folder of the server's programs, which are not in the path.
fn programs() -> Result<PathBuf, Skip> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(|folder| folder.join("postgres").is_file());
    folders.sort();
    match folders.pop() {
        Some(folder) => Ok(folder),
        None => skip!("postgres is not installed"),
    }
}

/// A program of the server, which does not run as root.
fn unprivileged(program: &Path) -> Result<Command, Skip> {
    let mut command = command("setpriv")?;
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    Ok(command)
}

/// A server of an empty database, which lets in by `method`.
pub(crate) fn server(setup: &Setup, method: &str, arguments: &[&str]) -> Result<Server, Skip> {
    let programs = programs()?;
    let (folder, port) = (Server::prepare(), free_port());
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder for data");
    process::run(command("chown")?.arg("postgres").arg(folder.path()).arg(&data));
    let password = folder.path().join("password");
    fs::write(&password, "secret-password\n").expect("a file");
    let mut initialize = unprivileged(&programs.join("initdb"))?;
    initialize.args(["--no-sync", "-U", "postgres", "-A", method, "-D"]).arg(&data);
    initialize.arg("--pwfile").arg(&password);
    process::run(initialize.current_dir(folder.path()));
    let mut program = unprivileged(&programs.join("postgres"))?;
    program.arg("-D").arg(&data).arg("-k").arg(folder.path());
    program.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F"]).args(arguments);
    program.args(["-c", "autovacuum=off"]).current_dir(folder.path());
    Ok(Server::start(setup, folder, port, program))
}

fn connected(mut command: Command, server: &Server) -> Command {
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &server.port.to_string()]);
    command.env("PGPASSWORD", "secret-password").env("PGDATABASE", "postgres");
    command
}

fn psql(server: &Server, statements: &[&str]) -> Result<Command, Skip> {
    let mut psql = connected(command("psql")?, server);
    // It tells of errors and notices there.
    psql.args(["--no-psqlrc", "--quiet"]).stderr(Stdio::null());
    for statement in statements {
        psql.args(["--command", statement]);
    }
    Ok(psql)
}

pub(crate) fn pgbench(server: &Server, arguments: &[&str]) -> Result<Command, Skip> {
    let mut pgbench = connected(Command::new(programs()?.join("pgbench")), server);
    pgbench.args(arguments);
    Ok(pgbench)
}

impl Observed {
    /// Exchanges of PostgreSQL in which the traced process had this role, in the order of time.
    fn postgres(&self, role: Role) -> Vec<&Postgres> {
        let side = self.records.iter().filter_map(|record| match record {
            pixie::Record::Postgres(exchange) if exchange.traffic.role == Some(role) => {
                Some(&**exchange)
            }
            _ => None,
        });
        side.collect()
    }

    fn postgres_lines(&self, role: Role) -> Vec<String> {
        self.postgres(role).into_iter().map(line).collect()
    }

    /// Both sides must have seen the same bytes.
    fn same_bytes(&self) {
        let bytes = |role| {
            let all = self.postgres(role).into_iter();
            let mut bytes: Vec<_> =
                all.map(|each| (each.traffic.request_bytes, each.traffic.response_bytes)).collect();
            bytes.sort_unstable();
            bytes
        };
        assert_eq!(bytes(Role::Client), bytes(Role::Server), "bytes on both sides");
    }
}

fn text(exchange: &Postgres) -> String {
    let statement = exchange.request.as_ref().and_then(|request| request.statement.as_ref());
    statement.map(|statement| statement.text.to_string()).unwrap_or_default()
}

/// `query SELECT 1 -> SELECT 1, 1 rows, idle`
fn line(exchange: &Postgres) -> String {
    let command = exchange.request.as_ref().map_or("-", |request| request.command.as_str());
    let Some(response) = &exchange.response else {
        return format!("{command} {} -> nothing", text(exchange));
    };
    let what = match (&response.error, response.command_tag()) {
        (Some(error), _) => error.sqlstate.to_string(),
        (None, tag) => tag.map_or("-".to_owned(), ToString::to_string),
    };
    let rows = response.rows.map_or("no".to_owned(), |rows| rows.to_string());
    let state = response.transaction.map_or("-", |state| state.as_str());
    format!("{command} {} -> {what}, {rows} rows, {state}", text(exchange))
}

fn queries_of_psql(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    let statements = [
        "CREATE TABLE t (a int, b text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
        "SELECT a, b FROM t ORDER BY a",
        "SELECT nothing FROM t",
        "BEGIN; UPDATE t SET a = a + 1; COMMIT",
        "DO $$ BEGIN RAISE WARNING 'beware'; END $$",
    ];
    let expected = [
        "startup  -> -, no rows, idle",
        "query CREATE TABLE t (a int, b text) -> CREATE TABLE, no rows, idle",
        "query INSERT INTO t VALUES (1, 'one'), (2, 'two') -> INSERT 0 2, 2 rows, idle",
        "query SELECT a, b FROM t ORDER BY a -> SELECT 2, 2 rows, idle",
        "query SELECT nothing FROM t -> 42703, no rows, idle",
        "query BEGIN; UPDATE t SET a = a + 1; COMMIT -> COMMIT, 2 rows, idle",
        "query DO $$ BEGIN RAISE WARNING 'beware'; END $$ -> DO, no rows, idle",
    ];
    let mut psql = psql(&server, &statements)?;
    let (observed, (pid, _)) =
        setup.observe(setup.tracer_of(server.port), 14, || process::run(&mut psql));
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.postgres_lines(role), expected, "{role}");
        let records = observed.postgres(role);
        let startup = records[0];
        let (request, response) =
            (startup.request.as_ref().unwrap(), startup.response.as_ref().unwrap());
        assert_eq!(request.user.as_ref().unwrap(), "postgres");
        assert_eq!(request.application_name.as_ref().unwrap(), "psql");
        assert_eq!(response.authentication, Some("trust"));
        let version = response.parameters.iter().find(|(name, _)| name == "server_version");
        assert!(version.is_some_and(|(_, version)| version.as_bytes().starts_with(b"1")));
        // The server says itself which process serves the connection.
        let backend = response.process.unwrap();
        let expected = if role == Role::Client { pid } else { backend };
        for record in &records {
            assert_eq!(record.traffic.process.pid.0, expected);
            assert!(record.traffic.latency.is_some(), "{record}");
        }
        let select = records[3].response.as_ref().unwrap();
        let columns: Vec<_> = select.columns.iter().map(|(name, oid, _)| (name, oid)).collect();
        assert_eq!(columns, [(&b"a"[..], 23), (&b"b"[..], 25)]);
        assert_eq!((select.data_rows, select.data_bytes), (2, 2 * (4 + 1 + 4 + 3)));
        let error = records[4].response.as_ref().unwrap().error.as_ref().unwrap();
        assert_eq!((error.severity.to_string(), error.position), ("ERROR".into(), Some(8)));
        assert!(error.message.to_string().contains("nothing"));
        let tags = &records[5].response.as_ref().unwrap().command_tags;
        assert_eq!(*tags, ["BEGIN", "UPDATE 2", "COMMIT"]);
        let notices = &records[6].response.as_ref().unwrap().notices;
        assert_eq!((notices.len(), notices[0].message.to_string()), (1, "beware".into()));
        assert_eq!(notices[0].severity, "WARNING");
    }
    observed.same_bytes();
    Ok(())
}

const CLIENTS: usize = 2;
const TRANSACTIONS: usize = 100;

/// Runs a script by pgbench on a table with two rows. Its statements must be there on both sides,
/// as often as pgbench says that it ran them.
fn run_pgbench(
    setup: &Setup,
    mode: &str,
    script: &str,
    statements: &[&str],
) -> Result<Observed, Skip> {
    let server = server(setup, "trust", &[])?;
    process::run(&mut psql(&server, &["CREATE TABLE t (a int)", "INSERT INTO t VALUES (0)"])?);
    let file = server.file("script.sql");
    fs::write(&file, script).expect("a script");
    let (clients, transactions) = (CLIENTS.to_string(), TRANSACTIONS.to_string());
    let arguments = ["-n", "-M", mode, "-c", &clients, "-t", &transactions, "-f"];
    let mut pgbench = pgbench(&server, &arguments)?;
    pgbench.arg(&file);
    let runs = CLIENTS * TRANSACTIONS;
    let preparations = if mode == "prepared" { CLIENTS * statements.len() } else { 0 };
    // One startup more: pgbench looks first whether it can connect.
    let records = 2 * (runs * statements.len() + preparations + CLIENTS + 1);
    let (observed, (_, said)) =
        setup.observe(setup.tracer_of(server.port), records, || process::run(&mut pgbench));
    let processed = format!("number of transactions actually processed: {runs}/{runs}");
    assert!(said.contains(&processed), "{said}");
    for role in [Role::Client, Role::Server] {
        let all = observed.postgres(role);
        for statement in statements {
            let ran = all.iter().filter(|each| {
                let is_run = each.request.as_ref().is_some_and(|request| {
                    matches!(request.command, PostgresCommand::Query | PostgresCommand::Execute)
                });
                is_run && text(each).starts_with(statement)
            });
            let ran: Vec<_> = ran.collect();
            assert_eq!(ran.len(), runs, "{statement} in the {role}");
            for exchange in ran {
                let response = exchange.response.as_ref().unwrap();
                assert!(response.complete && !exchange.is_error(), "{exchange}");
                assert_eq!(response.rows, Some(1), "{exchange}");
                let tag = response.command_tag().unwrap().to_string();
                assert_eq!(tag.split(' ').next(), statement.split(' ').next(), "{exchange}");
            }
        }
        let of = |command| {
            let is = |each: &&&Postgres| {
                each.request.as_ref().is_some_and(|request| request.command == command)
            };
            all.iter().filter(is).count()
        };
        assert_eq!(of(PostgresCommand::Parse), preparations, "preparations in the {role}");
        assert!(of(PostgresCommand::Startup) >= CLIENTS, "startups in the {role}");
        assert!(all.iter().all(|exchange| exchange.traffic.latency.is_some()));
    }
    observed.same_bytes();
    assert_eq!(observed.stats.parser.malformed, 0);
    Ok(observed)
}

const SCRIPT: &str = "\\set x random(10, 99)\nSELECT :x + 1;\nUPDATE t SET a = a + :x;\n";
const STATEMENTS: [&str; 2] = ["SELECT ", "UPDATE t SET a = a + "];

fn pgbench_simple(setup: &Setup) -> Outcome {
    run_pgbench(setup, "simple", SCRIPT, &STATEMENTS).map(drop)
}

fn pgbench_extended(setup: &Setup) -> Outcome {
    let observed = run_pgbench(setup, "extended", SCRIPT, &STATEMENTS)?;
    let updates = observed.postgres(Role::Server).into_iter();
    let mut updates = updates.filter(|each| text(each).starts_with("UPDATE"));
    let request = updates.next().and_then(|each| each.request.as_ref()).unwrap();
    assert_eq!(request.statement.as_ref().unwrap().text, "UPDATE t SET a = a + $1;");
    assert_eq!(request.parameters[0].as_ref().map(|parameter| parameter.size), Some(2));
    Ok(())
}

fn pgbench_prepared(setup: &Setup) -> Outcome {
    let observed = run_pgbench(setup, "prepared", SCRIPT, &STATEMENTS)?;
    let executed = observed.postgres(Role::Client).into_iter().filter(|each| {
        let request = each.request.as_ref().unwrap();
        request.command == PostgresCommand::Execute
    });
    for exchange in executed {
        let name = exchange.request.as_ref().unwrap().prepared.as_ref().unwrap();
        assert!(!name.is_empty(), "{exchange}");
    }
    Ok(())
}

fn pgbench_pipelines(setup: &Setup) -> Outcome {
    let script = SCRIPT.replacen('\n', "\n\\startpipeline\n", 1) + "\\endpipeline\n";
    run_pgbench(setup, "extended", &script, &STATEMENTS).map(drop)
}

/// Both ways, a few rows and so many that most are not captured.
fn copies(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    let (few, many) = (server.file("few"), server.file("many"));
    fs::write(&few, "1\n22\n333\n").expect("a file");
    let numbers: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    fs::write(&many, numbers).expect("a file");
    let (few, many) = (few.display(), many.display());
    let out = server.file("out");
    let out = out.display();
    let statements = [
        "CREATE TABLE t (a int)".to_owned(),
        format!("\\copy t from '{few}'"),
        format!("\\copy t to '{out}'"),
        format!("\\copy t from '{many}'"),
        format!("\\copy t to '{out}'"),
        "SELECT 7".to_owned(),
    ];
    let statements: Vec<_> = statements.iter().map(String::as_str).collect();
    let mut psql = psql(&server, &statements)?;
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 14, || process::run(&mut psql));
    for role in [Role::Client, Role::Server] {
        let records = observed.postgres(role);
        assert_eq!(records.len(), 7, "{:#?}", observed.postgres_lines(role));
        let copy = |place: usize| {
            let response = records[place].response.as_ref().unwrap();
            (response.rows, **response.copy.as_ref().unwrap())
        };
        for (place, direction) in [(2, PostgresCopyDirection::In), (3, PostgresCopyDirection::Out)]
        {
            let (rows, copy) = copy(place);
            assert_eq!((rows, copy.direction, copy.bytes), (Some(3), direction, 9), "{role}");
            assert!(copy.complete);
        }
        // The server's last word on what it took is captured; on what it gave, perhaps.
        let (rows, taken) = copy(4);
        assert_eq!((rows, taken.direction), (Some(100_000), PostgresCopyDirection::In));
        let (rows, given) = copy(5);
        assert!(rows.is_none_or(|rows| rows == 100_003), "{rows:?}");
        assert_eq!(given.direction, PostgresCopyDirection::Out);
        assert_eq!(line(records[6]), "query SELECT 7 -> SELECT 1, 1 rows, idle");
    }
    Ok(())
}

fn a_notification(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    let mut psql = psql(&server, &["LISTEN news", "NOTIFY news, 'hello'"])?;
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 8, || process::run(&mut psql));
    for role in [Role::Client, Role::Server] {
        let records = observed.postgres(role);
        let backend = records[0].response.as_ref().unwrap().process.unwrap();
        let told: Vec<_> = records
            .iter()
            .filter_map(|record| record.response.as_ref()?.notification.as_ref())
            .collect();
        assert_eq!(told.len(), 1, "{role}");
        assert_eq!((told[0].process, told[0].channel.to_string()), (backend, "news".into()));
        assert_eq!(told[0].payload, "hello");
        assert_eq!(records.len(), 4, "{role}");
    }
    Ok(())
}

/// Cancels until the server says so: it may not have begun yet.
const CANCEL: &str = r#"
import select, sys, psycopg2
connection = psycopg2.connect(f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres")
def cancels():
    cancels.count += 1
    connection.cancel()
cancels.count = 0
import threading
done = threading.Event()
def again():
    while not done.wait(0.2):
        cancels()
thread = threading.Thread(target=again)
thread.start()
try:
    connection.cursor().execute("SELECT pg_sleep(60)")
except psycopg2.errors.QueryCanceled:
    done.set()
thread.join()
print("cancels", cancels.count)
print("backend", connection.get_backend_pid())
connection.close()
"#;

fn a_statement_is_cancelled(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    let has_driver =
        python("import psycopg2", &[])?.output().is_ok_and(|tried| tried.status.success());
    if !has_driver {
        skip!("python3-psycopg2 is not installed");
    }
    let mut client = python(CANCEL, &[&server.port.to_string()])?;
    let (observed, facts) =
        setup.observe(setup.tracer_of(server.port), 8, || Facts::of(&mut client));
    let facts = facts?;
    let (count, backend) = (facts.one::<usize>("cancels"), facts.one::<u32>("backend"));
    for role in [Role::Client, Role::Server] {
        let records = observed.postgres(role);
        let cancels = records.iter().filter_map(|record| {
            let request = record.request.as_ref()?;
            (request.command == PostgresCommand::Cancel)
                .then_some((request.process, &record.response))
        });
        let cancels: Vec<_> = cancels.collect();
        assert_eq!(cancels, vec![(Some(backend), &None); count], "{role}");
        let slept = records.iter().find(|record| text(record).contains("pg_sleep")).unwrap();
        assert_eq!(line(slept), "query SELECT pg_sleep(60) -> 57014, no rows, failed");
    }
    Ok(())
}

/// A server that encrypts for those who ask for it.
fn encrypting(setup: &Setup) -> Result<Server, Skip> {
    let folder = Server::prepare();
    certificate(folder.path());
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a file of our own");
    process::run(command("chown")?.arg("postgres").args([&key, &certificate]));
    let option = |name: &str, file: &Path| format!("{name}={}", file.display());
    let (certificate, key) = (option("ssl_cert_file", &certificate), option("ssl_key_file", &key));
    // It reads them as it starts.
    server(setup, "trust", &["-c", "ssl=on", "-c", &certificate, "-c", &key])
}

fn encryption_is_refused_or_accepted(setup: &Setup) -> Outcome {
    let plain = server(setup, "trust", &[])?;
    let mut refused = psql(&plain, &["SELECT 1"])?;
    refused.env("PGSSLMODE", "prefer");
    let (observed, _) =
        setup.observe(setup.tracer_of(plain.port), 4, || process::run(&mut refused));
    let expected = ["startup  -> -, no rows, idle", "query SELECT 1 -> SELECT 1, 1 rows, idle"];
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.postgres_lines(role), expected, "{role}");
    }
    drop(plain);

    let encrypting = encrypting(setup)?;
    let run = |mode: &str| {
        let mut psql = psql(&encrypting, &["SELECT 1"])?;
        process::run(psql.env("PGSSLMODE", mode));
        Ok::<_, Skip>(())
    };
    let (observed, ran) = setup.observe(setup.tracer_of(encrypting.port), 4, || {
        run("require")?;
        run("disable")
    });
    ran?;
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.postgres_lines(role), expected, "only what is not encrypted: {role}");
    }
    Ok(())
}

/// The records are those of the same statements in the clear.
fn inside_tls(setup: &Setup) -> Outcome {
    let server = encrypting(setup)?;
    let statements = ["CREATE TABLE t (a int)", "INSERT INTO t VALUES (1), (2)", "SELECT a FROM t"];
    let expected = [
        "startup  -> -, no rows, idle",
        "query CREATE TABLE t (a int) -> CREATE TABLE, no rows, idle",
        "query INSERT INTO t VALUES (1), (2) -> INSERT 0 2, 2 rows, idle",
        "query SELECT a FROM t -> SELECT 2, 2 rows, idle",
    ];
    let mut psql = psql(&server, &statements)?;
    psql.env("PGSSLMODE", "require");
    let tracer = setup.tracer_of(server.port).tls(OpenSsl).only_protocol("postgres");
    let (observed, _) = setup.observe(tracer, 2 * expected.len(), || process::run(&mut psql));
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.postgres_lines(role), expected, "{role}");
    }
    observed.same_bytes();
    observed.check_encrypted("openssl");
    Ok(())
}

const PSYCOPG2: &str = r#"
import sys, psycopg2
print("ready", flush=True)
sys.stdin.readline()
connection = psycopg2.connect(
    host="127.0.0.1", port=sys.argv[1], user="postgres", dbname="postgres", sslmode="require")
connection.autocommit = True
with connection.cursor() as cursor:
    cursor.execute("SELECT generate_series(1, 3)")
    assert len(cursor.fetchall()) == 3
print("done", flush=True)
sys.stdin.readline()
"#;

/// The wheel brings its OpenSSL along, in a library whose name has a hash in it.
fn inside_tls_of_a_wheel(setup: &Setup) -> Outcome {
    let server = encrypting(setup)?;
    let mut client = python(PSYCOPG2, &[&server.port.to_string()])?;
    client.env("PYTHONPATH", python_packages(&["psycopg2-binary==2.9.10"])?);
    let watch = setup.watch(setup.tracer_of(server.port).tls(OpenSsl).only_protocol("postgres"));
    let mut client = Client::start(client);
    watch.wait_until_probed(setup, client.pid());
    client.ask();
    watch.wait(4);
    client.leave();
    let observed = watch.stop_after(4);
    observed.check_nothing_dropped();
    let query = "query SELECT generate_series(1, 3) -> SELECT 3, 3 rows, idle";
    for role in [Role::Client, Role::Server] {
        assert_eq!(
            observed.postgres_lines(role),
            ["startup  -> -, no rows, idle", query],
            "{role}"
        );
    }
    observed.same_bytes();
    observed.check_encrypted("openssl");
    let files = observed.report.traffic.iter().flat_map(|traffic| &traffic.tls);
    let mut names = files.map(|file| file.path.to_string_lossy());
    assert!(names.any(|name| name.contains("/libssl-")), "a library with a hash in its name");
    Ok(())
}

fn passwords_are_not_kept(setup: &Setup) -> Outcome {
    for (method, name) in [("scram-sha-256", "sasl"), ("md5", "md5"), ("password", "password")] {
        let server = server(setup, method, &[])?;
        let mut right = psql(&server, &["SELECT 1"])?;
        let mut wrong = psql(&server, &["SELECT 1"])?;
        wrong.env("PGPASSWORD", "secret-mistake").stderr(Stdio::null());
        let (observed, _) = setup.observe(setup.tracer_of(server.port), 6, || {
            process::run(&mut right);
            assert!(!Running::start(&mut wrong).end().0.success());
        });
        let expected = [
            "startup  -> -, no rows, idle",
            "query SELECT 1 -> SELECT 1, 1 rows, idle",
            "startup  -> 28P01, no rows, -",
        ];
        for role in [Role::Client, Role::Server] {
            assert_eq!(observed.postgres_lines(role), expected, "{method}, {role}");
            for place in [0, 2] {
                let response = observed.postgres(role)[place].response.as_ref().unwrap();
                assert_eq!(response.authentication, Some(name));
            }
        }
        let everything = format!("{:?}", observed.records);
        assert!(!everything.contains("secret"), "{method}");
    }
    Ok(())
}

/// The replication protocol: a stream of files.
fn a_base_backup(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    let mut backup = connected(Command::new(programs()?.join("pg_basebackup")), &server);
    backup.env_remove("PGDATABASE").args(["-X", "none", "-c", "fast", "-F", "tar", "-D"]);
    backup.arg(server.file("backup")).stderr(Stdio::null());
    let (observed, _) =
        setup.observe(setup.tracer_of(server.port), 20, || process::run(&mut backup));
    for role in [Role::Client, Role::Server] {
        let records = observed.postgres(role);
        let copy = records.iter().find(|record| text(record).starts_with("BASE_BACKUP")).unwrap();
        let response = copy.response.as_ref().unwrap();
        let copy = response.copy.as_ref().unwrap();
        assert_eq!(copy.direction, PostgresCopyDirection::Out);
        assert!(copy.bytes > 0);
    }
    Ok(())
}

/// Most of the rows are not captured, nor the end; the next query is paired rightly all the same.
fn a_large_result(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    let large = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
    let mut psql = psql(&server, &[large, "SELECT 1 AS last"])?;
    let (observed, _) =
        setup.observe(setup.tracer_of(server.port), 6, || process::output(&mut psql));
    for role in [Role::Client, Role::Server] {
        let records = observed.postgres(role);
        assert_eq!(records.len(), 3, "{role}");
        assert_eq!(text(records[1]), large);
        let response = records[1].response.as_ref().unwrap();
        assert!(response.rows.is_none_or(|rows| rows == 20_000), "{role}: {response:?}");
        assert_eq!(response.rows.is_some(), response.complete, "{role}: {response:?}");
        assert_eq!(line(records[2]), "query SELECT 1 AS last -> SELECT 1, 1 rows, idle", "{role}");
    }
    Ok(())
}

fn a_unix_socket(setup: &Setup) -> Outcome {
    let server = server(setup, "trust", &[])?;
    find("psql")?;
    let mut psql = psql(&server, &["SELECT 1"])?;
    psql.env("PGHOST", server.file("")).args(["-h"]).arg(server.file(""));
    let watch = setup.watch(setup.tracer());
    let (pid, _) = process::run(&mut psql);
    watch.wait_for_pids(&[pid], 2);
    let mut observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    observed.keep_pids(&[pid]);
    let expected = ["startup  -> -, no rows, idle", "query SELECT 1 -> SELECT 1, 1 rows, idle"];
    assert_eq!(observed.postgres_lines(Role::Client), expected);
    Ok(())
}
