//! Rows that stay as they are over many turns: the environment, and the settings of records and generations. They are most of a state,
//! and are put into words once.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::{self, Config};
use crate::state::{FixedRows, Rows};

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Fixed {
    pub(crate) environment: FixedRows,
    settings: RefCell<Vec<Settings>>,
}

/// The rows of some settings under their number.
#[derive(Debug)]
struct Settings {
    /// Kept for as long as it is written, so that nothing else can lie there.
    config: Rc<Config>,
    number: u64,
    rows: FixedRows,
}

impl Settings {
    fn are(&self, config: &Rc<Config>, number: u64) -> bool {
        Rc::ptr_eq(&self.config, config) && self.number == number
    }
}

impl Fixed {
    /// Write the arguments that would give these settings, each under its number.
    pub(crate) fn save_settings(&self, configs: &[&Rc<Config>], rows: &mut Rows) {
        let mut before = self.settings.take();
        let mut now = Vec::with_capacity(configs.len());
        for (number, config) in (0u64..).zip(configs) {
            let known = before.iter().position(|known| known.are(config, number));
            let settings = match known {
                Some(place) => before.swap_remove(place),
                None => Settings {
                    config: Rc::clone(config),
                    number,
                    rows: FixedRows::default(),
                },
            };
            rows.fixed(&settings.rows, |rows| save(config, number, rows));
            now.push(settings);
        }
        self.settings.replace(now);
    }
}

fn save(config: &Config, number: u64, rows: &mut Rows) {
    for argument in config::to_arguments(config) {
        rows.begin("argument")
            .number("config", number)
            .os("is", &argument);
    }
}
