//! The picture of a run over several servers: a line for each, the version as colour and shape, failures in red below.

use plotters::prelude::{ChartBuilder, PathElement, TRANSPARENT, Text};

use crate::picture::{Area, CHANGE, Drawn, FAINT, HEAD, INK, LEGEND, SIZE, failure, text, version};
use crate::print::shown;
use crate::timeline::Timeline;

/// Characters of a server's name that fit beside its line.
const NAME: usize = 11;

/// The line of the failures, which no server has answered.
const LOST: &str = "lost";

/// Draw a line for each server in the order of their names, and a mark for each request on its line.
pub(crate) fn plot(root: &Area<'_>, timeline: &Timeline) -> Drawn {
    let mut order: Vec<usize> = (0..timeline.servers().len()).collect();
    order.sort_by_key(|server| natural(&timeline.servers()[*server]));
    let lines = order.len() as f64;
    let (_, below) = root.split_vertically(HEAD);
    let (left, _) = below.split_horizontally(SIZE.0 - LEGEND);
    let end = timeline.length().as_secs_f64().max(0.001);
    let mut chart = ChartBuilder::on(&left)
        .margin_right(12)
        .margin_top(6)
        .margin_bottom(8)
        .margin_left(88)
        .x_label_area_size(44)
        // The first line at the top, that of the failures at the bottom.
        .build_cartesian_2d(0.0..end, (lines + 0.6)..-0.6)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .light_line_style(TRANSPARENT)
        .axis_style(CHANGE)
        .x_label_formatter(&|seconds| format!("{seconds} s"))
        .label_style(text(13, INK))
        .x_desc("time since the start")
        .axis_desc_style(text(13, CHANGE))
        .draw()?;
    let names = order.iter().map(|server| timeline.servers()[*server].as_str());
    for (line, name) in names.chain([LOST]).enumerate() {
        let (from, to) = (
            chart.backend_coord(&(0.0, line as f64)),
            chart.backend_coord(&(end, line as f64)),
        );
        root.draw(&PathElement::new([from, to], FAINT))?;
        let name: String = shown(name).chars().take(NAME).collect();
        root.draw(&Text::new(name, (12, from.1 - 7), text(13, INK)))?;
    }
    for answered in timeline.answers() {
        let line = answered
            .server
            .and_then(|server| order.iter().position(|other| *other == server));
        if let Some(line) = line {
            let place = chart.backend_coord(&(answered.mark.at.as_secs_f64(), line as f64));
            version(root, place, answered.version)?;
        }
    }
    for failed in timeline.failures() {
        failure(root, chart.backend_coord(&(failed.at.as_secs_f64(), lines)))?;
    }
    Ok(())
}

/// A name by its letters and then its number, so that web10 comes after web9.
fn natural(name: &str) -> (&str, u64) {
    let letters = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    (letters, name[letters.len()..].parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_in_the_order_of_their_numbers() {
        let mut names = ["web10", "web9", "db", "web1"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["db", "web1", "web9", "web10"]);
    }
}
