//! A directory on the host with the layout of `deploy.sh`, mounted into a container.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use segue_tests::binaries::{self, Binary};
use segue_tests::engine::Engine;
use segue_tests::executable;

/// `ROOT/releases/N/app`, and `ROOT/current`, which leads to one of them. The link is relative, since the container sees
/// the directory under another path.
pub(crate) struct Volume {
    root: PathBuf,
    releases: AtomicU32,
}

/// The end of a script: the sample app, with a message.
pub(crate) fn serves(message: &str) -> String {
    format!("exec /srv/app/sample --message '{message}'")
}

impl Volume {
    pub(crate) fn new(engine: &Engine, name: &str) -> Self {
        let root = engine.path(&format!("volumes/{name}"));
        std::fs::create_dir_all(root.join("releases")).unwrap();
        executable::copy(&Binary::App.path(), &root.join("sample")).unwrap();
        Self {
            root,
            releases: AtomicU32::new(0),
        }
    }

    /// The option of `docker run`. The container only reads.
    pub(crate) fn mount(&self) -> [String; 1] {
        [format!("--volume={}:/srv/app:ro", self.root.display())]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Deploys a shell script.
    pub(crate) fn deploy(&self, script: &str) {
        self.release(|app| executable::write(app, format!("#!/bin/sh\n{script}\n").as_bytes()));
    }

    /// Deploys the sample app, static.
    pub(crate) fn deploy_binary(&self) {
        self.release(|app| {
            executable::copy(&binaries::build_static().join("app"), app).unwrap();
        });
    }

    /// The release first, whole; then one rename.
    fn release(&self, fill: impl FnOnce(&PathBuf)) {
        let release = format!("releases/{}", self.releases.fetch_add(1, Ordering::Relaxed));
        let directory = self.root.join(&release);
        std::fs::create_dir(&directory).unwrap();
        let app = directory.join("app");
        fill(&app);
        std::fs::set_permissions(&app, std::fs::Permissions::from_mode(0o755)).unwrap();
        let link = self.root.join("current.new");
        symlink(&release, &link).unwrap();
        std::fs::rename(&link, self.root.join("current")).unwrap();
    }
}
