//! A worker of einhorn, with the client library of Baseplate as it is on PyPI: it takes its socket and acks by einhorn's words alone.

use segue_tests::http;
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

#[test]
#[ignore = ".ci/more servers"]
fn an_einhorn_worker_is_ready_by_its_ack() {
    let test = "an_einhorn_worker_is_ready_by_its_ack";
    let Some(python) = needs::or_skip(test, needs::tool("servers-all", "servers/bin/python")) else {
        return;
    };
    let code = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/in_code.py");
    let flags = [
        "--protocol",
        "einhorn",
        "--ready",
        "notify",
        "--stop-signal",
        "USR2",
    ];
    let setup = Setup::new(Program::new(python).args([code, "einhorn"])).flags(flags);
    let segue = setup.flags(super::play::COMMON).start();
    for generation in 2..=5 {
        segue.reload_ok(&["--drained"]);
        assert_eq!(segue.status().generation(), generation);
        let mut client = segue.target().connect().unwrap();
        assert_eq!(client.ask(&http::get_and_close("/ping")).unwrap().status, 200);
    }
    segue.stop();
}
