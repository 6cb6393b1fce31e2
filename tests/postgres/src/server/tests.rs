//! Needs the package postgresql, as every suite that uses this crate.

use super::*;

fn count(server: &Server, database: &Database) -> String {
    server.sql_in(database.name(), "SELECT count(*) FROM t").unwrap()
}

/// Waits until processes are in one of these states of ps(1), or gone (`Z` is gone to all but its parent).
#[expect(clippy::disallowed_methods, reason = "no async here")]
fn until_all_are(pids: &[i32], states: &[&str]) {
    let words: Vec<_> = pids.iter().map(ToString::to_string).collect();
    for _ in 0..1000 {
        let mut ps = Command::new("ps");
        let ended = ps
            .args(["-o", "state=", "--pid", &words.join(",")])
            .output()
            .unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        if text
            .split_whitespace()
            .all(|state| state == "Z" || states.contains(&state))
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{pids:?} are not {states:?}");
}

#[test]
#[ignore = "needs PostgreSQL; `cargo xtask test --only store` runs it"]
fn it_stops_starts_and_pauses_and_takes_its_folder_with_it() {
    let server = Server::start().unwrap();
    let database = server.database().unwrap();
    server.sql_in(database.name(), "CREATE TABLE t (n int)").unwrap();
    server
        .sql_in(database.name(), "INSERT INTO t VALUES (1)")
        .unwrap();
    for how in [Stop::Fast, Stop::Immediate] {
        server.stop(how).unwrap();
        assert!(server.sql("SELECT 1").is_err());
        server.start_again().unwrap();
        assert_eq!(count(&server, &database), "1", "{how:?}");
    }
    assert_eq!(server.sql("SHOW fsync").unwrap(), "on");
    let rights = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'landbridge'";
    assert_eq!(server.sql(rights).unwrap(), "f|f");

    server.pause().unwrap();
    let parent = server.pid().unwrap();
    let mut all = children(parent).unwrap();
    all.push(parent);
    assert!(all.len() > 3, "{all:?}");
    until_all_are(&all, &["T"]);
    server.resume().unwrap();
    assert_eq!(count(&server, &database), "1");

    // Also when it is paused at the end.
    server.pause().unwrap();
    let folder = server.folder.clone();
    drop(server);
    assert!(!folder.exists());
    until_all_are(&[parent], &[]);
}

#[test]
#[ignore = "needs PostgreSQL; `cargo xtask test --only store` runs it"]
fn databases_of_one_server_are_apart_and_need_the_password() {
    let (one, two) = (crate::database().unwrap(), crate::database().unwrap());
    assert_eq!(one.port, two.port);
    assert_ne!(one.name(), two.name());
    let server = crate::shared().unwrap();
    let login = |url: &str| {
        let mut psql = server.programs.command("psql");
        output("psql", psql.args(["--no-psqlrc", "--command", "SELECT 1", url]))
    };
    login(&one.url()).unwrap();
    let refused = login(&one.url_with("wrong")).unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
}
