//! The line that tells why a program died, where it is not the last one: runtimes print a stack, a hint or their version below it.

/// What a Python traceback begins with. The exception is the first line after it that is not indented.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// The last line that looks like the reason of a death, in the ways of Python, Node, Java, Ruby, Go and Rust.
pub(super) fn telling<'a>(lines: &[&'a str]) -> Option<(&'a str, Option<&'a str>)> {
    let place = (0..lines.len()).rev().find(|place| is_telling(lines, *place))?;
    let rest = lines[place + 1..].first().copied();
    // Rust says where in this line, and why in the next.
    let rest = rest.filter(|_| is_rust_panic(lines[place]));
    Some((lines[place], rest))
}

fn is_telling(lines: &[&str], place: usize) -> bool {
    let line = lines[place];
    is_rust_panic(line)
        || line.starts_with("panic: ")
        || line.starts_with("fatal error: ")
        || line.starts_with("Exception in thread ")
        || names_an_error(line)
        || ends_with_an_error(line)
        || ends_a_traceback(&lines[..place], line)
}

/// `thread 'main' panicked at src/main.rs:2:5:`, since Rust 1.86 or so with a number behind the name.
fn is_rust_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains("' panicked at ")
        || line.starts_with("thread '") && line.contains(") panicked at ")
}

/// `ModuleNotFoundError: No module named 'x'`, `redis.exceptions.ConnectionError: ...`, `TypeError: x is not a function`,
/// `java.lang.IllegalStateException: ...`.
fn names_an_error(line: &str) -> bool {
    let name = line.split_once(": ").map_or(line, |(name, _)| name);
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._$".contains(&byte));
    is_name && (name.ends_with("Error") || name.ends_with("Exception"))
}

/// Ruby: `app.rb:3:in 'open': no such host (SocketError)`.
fn ends_with_an_error(line: &str) -> bool {
    let inner = line.strip_suffix(')').and_then(|line| line.rsplit_once(" ("));
    line.contains(".rb:") && inner.is_some_and(|(_, name)| names_an_error(name))
}

fn ends_a_traceback(before: &[&str], line: &str) -> bool {
    let is_inside = |line: &str| line.starts_with([' ', '\t']);
    if is_inside(line) {
        return false;
    }
    let above = before.iter().rev().find(|line| !is_inside(line));
    above.is_some_and(|line| line.ends_with(TRACEBACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match telling(&lines) {
            Some((line, Some(rest))) => format!("{line} {rest}"),
            Some((line, None)) => line.to_owned(),
            None => String::new(),
        }
    }

    #[test]
    fn the_exception_of_gunicorn_is_found_above_its_last_lines() {
        let log = "[2026-11-29 20:00:00 +0000] [7] [ERROR] Exception in worker process\n\
                   Traceback (most recent call last):\n  \
                   File \"/x/arbiter.py\", line 1, in spawn_worker\n    \
                   worker.init_process()\n\
                   ModuleNotFoundError: No module named 'x'\n\
                   [2026-11-29 20:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)\n\
                   [2026-11-29 20:00:00 +0000] [6] [ERROR] Reason: Worker failed to boot.\n";
        assert_eq!(told(log), "ModuleNotFoundError: No module named 'x'");
    }

    #[test]
    fn each_runtime_has_its_own_way_to_die() {
        for (log, expected) in [
            (
                "/x.js:1\nthrow new Error('boom')\n^\n\nError: boom\n    at Object.<anonymous> (/x.js:1:7)\n\nNode.js v18.20.4\n",
                "Error: boom",
            ),
            (
                "\nthread 'main' panicked at src/main.rs:2:5:\nno database\nnote: run with `RUST_BACKTRACE=1` ...\n",
                "thread 'main' panicked at src/main.rs:2:5: no database",
            ),
            (
                "thread 'main' (812) panicked at src/main.rs:2:5:\nno database\nnote: run\n",
                "thread 'main' (812) panicked at src/main.rs:2:5: no database",
            ),
            (
                "panic: no database\n\ngoroutine 1 [running]:\nmain.main()\n\t/x/main.go:4 +0x25\n",
                "panic: no database",
            ),
            (
                "Exception in thread \"main\" java.lang.IllegalStateException: no database\n\tat Main.main(Main.java:3)\n",
                "Exception in thread \"main\" java.lang.IllegalStateException: no database",
            ),
            (
                "app.rb:3:in 'open': no such host (SocketError)\n\tfrom app.rb:9:in '<main>'\n",
                "app.rb:3:in 'open': no such host (SocketError)",
            ),
            (
                "Traceback (most recent call last):\n  File \"x\", line 1\nKeyboardInterrupt\nbye\n",
                "KeyboardInterrupt",
            ),
        ] {
            assert_eq!(told(log), expected);
        }
    }

    #[test]
    fn other_lines_tell_nothing() {
        for log in [
            "",
            "listening on 8080\nbye\n",
            "no Error here: all is well\n",
            "2 errors: fix them\n",
            "at Error (x)\n",
        ] {
            assert_eq!(told(log), "");
        }
    }
}
