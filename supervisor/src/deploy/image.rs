//! A release of an image is a script that runs it with podman.
//!
//! It says the same for the same image, so that its SHA-256 tells whether that serves already; what it runs is named by its ID, which
//! no later build and no pull moves. A tag of ours keeps the image for as long as a release starts it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::mkdtemp;

use super::Deploy;
use super::ending::{Ending, Outcome, Step, say};
use super::engine::Engine;
use super::files::{attempt, copy_tree, head, make_directory};
use super::hash::{Shape, of_bytes};
use super::source::{Source, check_hard_links};
use super::wanted::Image;
use crate::clock;
use crate::sys::errno_text;

/// How long a pull may take.
const PULL_TIME: Duration = Duration::from_secs(3600);

/// How much of a script is read to know whether it is one of ours, in bytes.
const HEAD: u64 = 4096;

/// How much of it is read for what it starts, in bytes: its options come from a command line.
const SCRIPT: u64 = 4 * 1024 * 1024;

/// What the line with the tag begins with, and each tag of ours.
const LINE: &str = "# image: ";
const TAG: &str = "localhost/segue-";

/// The label of the containers of one preflight, by this variable of the script.
const PREFLIGHT: &str = "SEGUE_PREFLIGHT";

/// The repository of our tags: of this root alone, since another one with the same name lets go of its own images.
fn repository(app: &str, root: &Path) -> String {
    let sign = |sign: char| match sign.to_ascii_lowercase() {
        known @ ('a'..='z' | '0'..='9' | '-') => known,
        _ => '-',
    };
    let app: String = app.chars().map(sign).collect();
    let digest = of_bytes(root.as_os_str().as_bytes());
    format!("{TAG}{app}-{}", &digest[..8])
}

/// The tag that keeps an image as long as a release of this app starts it, whatever becomes of its other tags.
fn keeper_of(repository: &str, id: &str) -> String {
    format!("{repository}:{}", id.get(..12).unwrap_or(id))
}

/// One word for a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The script. `code` is the name of a directory beside it, and where its containers have that.
fn script(app: &str, image: &Image, keeper: &str, id: &str, code: Option<(&str, &str)>) -> String {
    let mut text = format!(
        "#!/bin/sh\n# Made by deploy.sh. Segue starts it and hands it the listeners, and podman hands them on.\n{LINE}{keeper}\n"
    );
    if code.is_some() {
        text += "release=$(dirname -- \"$(readlink -f -- \"$0\")\") || exit\n";
    }
    text += "exec";
    let label = format!("--label=segue={app}");
    let fixed = [
        "run",
        "--rm",
        "--sdnotify=container",
        &label,
        "--env",
        "SEGUE_NAME",
        "--env",
        "SEGUE_GENERATION",
        "--env",
        "SEGUE_WORKER",
    ];
    let words = image.engine.split_whitespace().chain(fixed);
    for word in words.chain(image.run_options.split_whitespace()) {
        text += &format!(" {}", quoted(word));
    }
    text += " ${SEGUE_PREFLIGHT:+\"--label=segue-preflight=$SEGUE_PREFLIGHT\"}";
    if let Some((name, at)) = code {
        text += &format!(" --volume \"$release\"/{name}:{}", quoted(&format!("{at}:ro")));
    }
    text + &format!(" sha256:{id} \"$@\"\n")
}

/// The tag that a script names, if it is one of this repository. The app may write into its own release, and whoever deploys it may
/// remove the images of all.
fn keeper_in(script: &Path, repository: &str) -> Option<String> {
    let text = head(script, HEAD).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let tag = text.lines().nth(2)?.strip_prefix(LINE)?;
    let id = tag.strip_prefix(repository)?.strip_prefix(':')?;
    let is_ours = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| tag.to_owned())
}

impl Deploy {
    fn engine(&self) -> Engine {
        Engine::new(&self.wanted.engine)
    }

    /// The tag that keeps the image of a release, if it is one.
    pub(super) fn keeper(&self, release: &str) -> Option<String> {
        let repository = repository(&self.name, self.store.root());
        keeper_in(&self.store.release(release).join(&self.name), &repository)
    }

    /// Makes the script of an image, and what lies beside it: they are what is deployed then.
    pub(super) fn draft_image(&mut self, image: &Image) -> Step<Source> {
        let engine = self.engine();
        let reference = &image.reference;
        if image.code.is_some() && self.store.root().as_os_str().as_bytes().contains(&b':') {
            return Err(Ending::misused(
                "podman takes no colon in the path of a volume (--root)",
            ));
        }
        if !engine.is_installed() {
            let program = engine.program().to_owned();
            return Err(Ending::refused(format_args!(
                "find {program}: it is not installed; an --image needs podman (--engine says how it is called)"
            )));
        }
        let is_here = engine
            .has(reference)
            .map_err(|cause| format!("look for image {reference}: {cause}"))?;
        if !is_here {
            if self.is_rehearsal() {
                let text = format!(
                    "{}: would pull image {reference} and deploy it; dry run: nothing was changed",
                    self.name
                );
                return Err(Ending::new(Outcome::DryRun, text));
            }
            let pulled = engine.run(&["pull", "--quiet", reference], PULL_TIME, &mut self.interruption);
            self.interruption.heed()?;
            pulled.map_err(|cause| format!("pull image {reference}: {cause}"))?;
        }
        let id = engine
            .ask(&["image", "inspect", "--format", "{{.Id}}", reference])
            .map_err(|cause| format!("look at image {reference}: {cause}"))?;
        let id = Some(id).filter(|id| id.len() >= 64).ok_or_else(|| {
            format!(
                "look at image {reference}: {} does not know its ID",
                engine.shown()
            )
        })?;
        let id = id.strip_prefix("sha256:").unwrap_or(&id);
        let drafts = mkdtemp(&std::env::temp_dir().join("segue-deploy.XXXXXX"))
            .map_err(|errno| format!("make a temporary directory: {}", errno_text(errno)))?;
        self.made.drafts = Some(drafts.clone());
        let keeper = keeper_of(&repository(&self.name, self.store.root()), id);
        let source = match &image.code {
            None => {
                self.write_script(
                    &drafts.join(&self.name),
                    &script(&self.name, image, &keeper, id, None),
                )?;
                Source {
                    path: drafts.join(&self.name),
                    entry: None,
                }
            }
            Some(code) => {
                let tree = drafts.join("tree");
                make_directory(&tree)?;
                let name = self.draft_code(code, &tree)?;
                let at = image
                    .code_at
                    .clone()
                    .unwrap_or_else(|| format!("/srv/{}", self.name));
                let text = script(&self.name, image, &keeper, id, Some((&name, &at)));
                self.write_script(&tree.join(&self.name), &text)?;
                Source {
                    path: tree,
                    entry: Some(self.name.clone()),
                }
            }
        };
        say(format_args!(
            "image {reference} is {}",
            id.get(..12).unwrap_or(id)
        ));
        Ok(source)
    }

    /// The code is named after its content: if `current` is flipped in the instant in which the script looks where it is, it finds
    /// nothing, and never other code.
    fn draft_code(&mut self, code: &Path, tree: &Path) -> Step<String> {
        if !code.is_dir() {
            return Err(Ending::refused(format_args!(
                "check {}: not a directory; the code beside an --image is one",
                code.display()
            )));
        }
        check_hard_links(code)?;
        let print = self.measure(code, Shape::Tree)?;
        let name = format!("code-{}", &print.sha256[..12]);
        let target = tree.join(&name);
        make_directory(&target)?;
        let interruption = &mut self.interruption;
        copy_tree(code, &target, &mut || interruption.heed())?;
        Ok(name)
    }

    fn write_script(&self, path: &Path, text: &str) -> Result<(), String> {
        let written =
            fs::write(path, text).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
        attempt(format_args!("write {}", path.display()), written)
    }

    /// Has podman keep the image of a release that has its name now.
    pub(super) fn keep_image(&mut self, release: &str) -> Step<()> {
        let Some(keeper) = self.keeper(release) else {
            return Ok(());
        };
        let engine = self.engine();
        engine.clear_dead(&self.name);
        let script = head(&self.store.release(release).join(&self.name), SCRIPT).unwrap_or_default();
        let script = String::from_utf8_lossy(&script);
        let id = script
            .rsplit_once(" sha256:")
            .and_then(|(_, rest)| rest.split(' ').next());
        let id = id.unwrap_or_default().to_owned();
        engine
            .ask(&["tag", &id, &keeper])
            .map_err(|cause| Ending::refused(format_args!("keep image {id}: {cause}")))?;
        Ok(())
    }

    /// Removes a release, and lets go of its image.
    pub(super) fn discard(&self, release: &str) -> Result<(), String> {
        let keeper = self.keeper(release);
        self.store.remove(release)?;
        if let Some(keeper) = keeper {
            self.let_go(&keeper);
        }
        Ok(())
    }

    /// Of an image that no release starts any more. Podman itself keeps one that a container runs or that has another tag.
    fn let_go(&self, keeper: &str) {
        let releases = self.store.releases();
        if releases
            .iter()
            .any(|release| self.keeper(release).as_deref() == Some(keeper))
        {
            return;
        }
        let engine = self.engine();
        engine.clear_dead(&self.name);
        if let Err(cause) = engine.ask(&["rmi", keeper]) {
            say(format_args!("remove image {keeper}: {cause}"));
        }
    }

    /// Of those, too, that podman refused to remove when their release went.
    pub(super) fn let_go_of_rest(&self) {
        let listed = self
            .engine()
            .ask(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        let ours = format!("{}:", repository(&self.name, self.store.root()));
        let listed = listed.unwrap_or_default();
        let tags: std::collections::BTreeSet<&str> =
            listed.lines().filter(|tag| tag.starts_with(&ours)).collect();
        for tag in tags {
            self.let_go(tag);
        }
    }

    /// Whether the image of a release is still there.
    pub(super) fn check_image_of(&self, release: &str) -> Result<(), String> {
        let Some(keeper) = self.keeper(release) else {
            return Ok(());
        };
        match self.engine().has(&keeper) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("roll back: image {keeper} of release {release} is gone")),
            Err(cause) => Err(format!(
                "roll back: look for image {keeper} of release {release}: {cause}"
            )),
        }
    }

    /// A container outlives the podman that is killed for its time: it is known by a label. The variable for its command, and the label.
    pub(super) fn preflight_label() -> (&'static str, String) {
        let seconds = clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH);
        let seconds = seconds.unwrap_or_default().as_secs();
        (PREFLIGHT, format!("{}-{seconds}", std::process::id()))
    }

    /// Ends what a preflight has left.
    pub(super) fn end_preflight(&self, label: &str) {
        let engine = self.engine();
        let filter = format!("label=segue-preflight={label}");
        let listed = engine.ask(&["ps", "--all", "--quiet", "--filter", &filter]);
        for container in listed.unwrap_or_default().lines() {
            let _ = engine.ask(&["kill", "--signal=KILL", container]);
            let _ = engine.ask(&["rm", "--force", container]);
        }
    }
}

/// A temporary directory goes with the deploy.
pub(super) fn remove_drafts(drafts: Option<PathBuf>) -> Result<(), String> {
    drafts.map_or(Ok(()), |drafts| {
        attempt(
            format_args!("remove {}", drafts.display()),
            super::files::remove_all(&drafts),
        )
    })
}

/// The image for the list: its ID.
pub(super) fn shown_in_list(keeper: &str) -> &str {
    keeper.rsplit(':').next().unwrap_or(keeper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(code_at: Option<&str>, run_options: &str) -> Image {
        Image {
            reference: "shop:1".to_owned(),
            code: None,
            code_at: code_at.map(str::to_owned),
            run_options: run_options.to_owned(),
            engine: "podman".to_owned(),
        }
    }

    #[test]
    fn whatever_is_quoted_is_one_word() {
        assert_eq!(quoted("/srv/it's $HOME"), r"'/srv/it'\''s $HOME'");
    }

    /// Byte for byte as deploy.sh has always written it: its digest tells whether the same serves already.
    #[test]
    fn the_script_of_an_image_is_the_same_for_ever() {
        let id = "0123456789abcdef".repeat(4);
        let repository = repository("My.Shop", "/srv/shop".as_ref());
        assert_eq!(
            repository,
            "localhost/segue-my-shop-b8a4f3a9".replace("b8a4f3a9", &of_bytes(b"/srv/shop")[..8])
        );
        let keeper = keeper_of(&repository, &id);
        let text = script("shop", &image(None, "--memory 5m it's"), &keeper, &id, None);
        let expected = format!(
            "#!/bin/sh\n# Made by deploy.sh. Segue starts it and hands it the listeners, and podman hands them on.\n# image: {keeper}\n\
             exec 'podman' 'run' '--rm' '--sdnotify=container' '--label=segue=shop' '--env' 'SEGUE_NAME' '--env' 'SEGUE_GENERATION' '--env' 'SEGUE_WORKER' '--memory' '5m' 'it'\\''s' \
             ${{SEGUE_PREFLIGHT:+\"--label=segue-preflight=$SEGUE_PREFLIGHT\"}} sha256:{id} \"$@\"\n"
        );
        assert_eq!(text, expected);
        let text = script(
            "shop",
            &image(None, ""),
            &keeper,
            &id,
            Some(("code-1", "/srv/shop")),
        );
        assert!(text.contains("\nrelease=$(dirname -- \"$(readlink -f -- \"$0\")\") || exit\nexec "));
        assert!(text.contains("} --volume \"$release\"/code-1:'/srv/shop:ro' sha256:"));
    }

    #[test]
    fn only_scripts_of_ours_name_a_tag() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("app");
        let of = |text: &str| {
            fs::write(&path, text).unwrap();
            keeper_in(&path, "localhost/segue-app-01234567")
        };
        let head = "#!/bin/sh\n# Made by deploy.sh.\n";
        assert_eq!(
            of(&format!("{head}# image: localhost/segue-app-01234567:abc\n")).as_deref(),
            Some("localhost/segue-app-01234567:abc")
        );
        for line in [
            // Of another app, and of one whose name begins like this one.
            "# image: localhost/segue-shop-01234567:abc",
            "# image: localhost/segue-app-012345678:abc",
            "# image: localhost/segue-app-01234567:",
            "# image: localhost/segue-app-01234567:abc/other",
            "# image: docker.io/other:1",
            "# image: localhost/segue-app:1 --force",
            "# image: localhost/segue-app;x",
            "exec app",
        ] {
            assert_eq!(of(&format!("{head}{line}\n")), None, "{line}");
        }
        assert_eq!(of("\x7fELF"), None);
    }
}
