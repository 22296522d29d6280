//! A run as an SVG: each request a mark over time, latency upwards, the version as colour and shape, failures in red.

use std::path::Path;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, Color, Cross, DrawingArea, DrawingAreaErrorKind, FontStyle, IntoDrawingArea,
    IntoFont, IntoLogRange, PathElement, Polygon, RGBColor, Rectangle, SVGBackend, TRANSPARENT, Text,
};
use plotters::style::TextStyle;

use crate::lanes;
use crate::print::{milliseconds, shown};
use crate::stats::Stats;
use crate::timeline::{Mark, Timeline};

/// Width and height in pixels; twice the width of a README's text column on a dense screen is enough.
pub(crate) const SIZE: (u32, u32) = (960, 400);

/// Pixels kept for the title and the totals above the plot.
pub(crate) const HEAD: u32 = 64;

/// Pixels kept for the legend at the right.
pub(crate) const LEGEND: u32 = 190;

/// Pixels from one entry of the legend to the next.
const ROW: i32 = 22;

/// Versions that the legend names; more share its last entry.
const NAMED: usize = 8;

/// Characters of a version's name that fit beside its mark.
const NAME: usize = 22;

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(crate) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
pub(crate) const FAINT: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
pub(crate) const CHANGE: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const FAILURE: RGBColor = RGBColor(0xcf, 0x22, 0x2e);

/// Colours of versions, by turns. They differ in lightness, too, so that grey paper tells them apart.
const VERSIONS: [RGBColor; 4] = [
    RGBColor(0x09, 0x69, 0xda),
    RGBColor(0xbf, 0x87, 0x00),
    RGBColor(0x1a, 0x7f, 0x37),
    RGBColor(0x82, 0x50, 0xdf),
];

/// What a dark screen shows instead of each colour: a style sheet beats the attributes that the plot is drawn with.
const DARK: [(RGBColor, &str); 9] = [
    (PAPER, "#0d1117"),
    (INK, "#e6edf3"),
    (FAINT, "#2f3742"),
    (CHANGE, "#9198a1"),
    (FAILURE, "#ff7b72"),
    (VERSIONS[0], "#58a6ff"),
    (VERSIONS[1], "#e3b341"),
    (VERSIONS[2], "#56d364"),
    (VERSIONS[3], "#bc8cff"),
];

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Write the picture of a run to a file, whole or not at all.
///
/// # Errors
/// One line: the attempt, then the cause.
pub(crate) fn write(path: &Path, title: &str, timeline: &Timeline, stats: &Stats) -> Result<(), String> {
    let wrong = |why: &dyn std::fmt::Display| format!("write the picture {}: {why}", path.display());
    let svg = render(title, timeline, stats).map_err(|error| wrong(&error))?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::write(&new, svg).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        drop(std::fs::remove_file(&new));
        wrong(&segue_app::errno_text(&error))
    })
}

/// The picture as text.
fn render(
    title: &str,
    timeline: &Timeline,
    stats: &Stats,
) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&PAPER)?;
        head(&root, title, stats)?;
        match timeline.servers() {
            [] => plot(&root, timeline)?,
            _ => lanes::plot(&root, timeline)?,
        }
        legend(&root, timeline, stats)?;
        root.present()?;
    }
    Ok(with_style(&svg))
}

/// Put the style sheet for dark screens behind the opening tag.
fn with_style(svg: &str) -> String {
    let hex = |RGBColor(red, green, blue): RGBColor| format!("#{red:02X}{green:02X}{blue:02X}");
    let rules: String = DARK
        .iter()
        .map(|(light, dark)| {
            let light = hex(*light);
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>");
    let opened = svg
        .find("<svg")
        .and_then(|tag| Some(tag + svg[tag..].find('>')? + 1));
    match opened {
        Some(end) => format!("{}\n{style}{}", &svg[..end], &svg[end..]),
        None => svg.to_owned(),
    }
}

pub(crate) fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

fn head(root: &Area<'_>, title: &str, stats: &Stats) -> Drawn {
    let bold = ("sans-serif", 20).into_font().style(FontStyle::Bold).color(&INK);
    root.draw(&Text::new(shown(title), (16, 14), bold))?;
    root.draw(&Text::new(totals(stats), (16, 42), text(14, CHANGE)))
}

/// The totals in one line, as the summary words them.
fn totals(stats: &Stats) -> String {
    format!(
        "{} requests, {} failed, longest gap {:.3} s, p50 {} ms, p99 {} ms",
        stats.requests,
        stats.down,
        stats.longest_gap.as_secs_f64(),
        milliseconds(stats.within(0.5)),
        milliseconds(stats.within(0.99)),
    )
}

/// The axes, a line for each change, and a mark for each request.
fn plot(root: &Area<'_>, timeline: &Timeline) -> Drawn {
    let (_, below) = root.split_vertically(HEAD);
    let (left, _) = below.split_horizontally(SIZE.0 - LEGEND);
    let end = timeline.length().as_secs_f64().max(0.001);
    let (low, high) = latencies(timeline);
    let mut chart = ChartBuilder::on(&left)
        .margin_right(12)
        .margin_top(6)
        .margin_bottom(8)
        .margin_left(12)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..end, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(CHANGE)
        .y_label_formatter(&|seconds| latency(*seconds))
        .x_label_formatter(&|seconds| format!("{seconds} s"))
        .label_style(text(13, INK))
        .x_desc("time since the start")
        .y_desc("time to the answer")
        .axis_desc_style(text(13, CHANGE))
        .draw()?;
    for change in timeline.changes() {
        let top = chart.backend_coord(&(change.as_secs_f64(), high));
        let bottom = chart.backend_coord(&(change.as_secs_f64(), low));
        root.draw(&PathElement::new([top, bottom], CHANGE))?;
    }
    let place = |mark: Mark| chart.backend_coord(&(mark.at.as_secs_f64(), seconds(mark.took)));
    for answered in timeline.answers() {
        version(root, place(answered.mark), answered.version)?;
    }
    for failed in timeline.failures() {
        failure(root, place(*failed))?;
    }
    Ok(())
}

/// What each mark means, with how often each version answered.
fn legend(root: &Area<'_>, timeline: &Timeline, stats: &Stats) -> Drawn {
    let left = (SIZE.0 - LEGEND) as i32 + 10;
    let mut top = HEAD as i32 + 14;
    let mut entry = |mark: &dyn Fn(&Area<'_>, (i32, i32)) -> Drawn, name: &str| {
        mark(root, (left, top))?;
        let drawn = root.draw(&Text::new(name.to_owned(), (left + 14, top - 6), text(13, INK)));
        top += ROW;
        drawn
    };
    let versions = stats.versions();
    for (place, (name, count)) in versions.iter().take(NAMED).enumerate() {
        let name = format!("{}: {count}", short(name));
        entry(&|root, at| version(root, at, place), &name)?;
    }
    if versions.len() > NAMED {
        let name = format!("and {} more versions", versions.len() - NAMED);
        entry(&|root, at| version(root, at, NAMED), &name)?;
    }
    if stats.down > 0 {
        entry(&failure, &format!("failed: {}", stats.down))?;
    }
    if !timeline.changes().is_empty() && timeline.servers().is_empty() {
        let line = |root: &Area<'_>, (x, y): (i32, i32)| {
            root.draw(&PathElement::new([(x, y - 7), (x, y + 7)], CHANGE))
        };
        entry(&line, "the answer changed")?;
    }
    if timeline.step() > 1 {
        let nothing = |_: &Area<'_>, _: (i32, i32)| Ok(());
        entry(&nothing, &format!("1 of {} answers drawn", timeline.step()))?;
    }
    Ok(())
}

/// The mark of a version: colour and shape by turns, with different periods, so that twelve can be told apart.
pub(crate) fn version(root: &Area<'_>, (x, y): (i32, i32), place: usize) -> Drawn {
    let style = VERSIONS[place % VERSIONS.len()].filled();
    match place % 3 {
        0 => root.draw(&Circle::new((x, y), 3, style)),
        1 => root.draw(&Polygon::new([(x - 4, y + 3), (x + 4, y + 3), (x, y - 4)], style)),
        _ => root.draw(&Rectangle::new([(x - 3, y - 3), (x + 3, y + 3)], style)),
    }
}

/// The mark of a failure: a red cross, larger than any answer.
pub(crate) fn failure(root: &Area<'_>, at: (i32, i32)) -> Drawn {
    root.draw(&Cross::new(at, 5, FAILURE.stroke_width(3)))
}

/// The lowest and the highest time to draw, in seconds: whole powers of ten around all marks.
fn latencies(timeline: &Timeline) -> (f64, f64) {
    let answers = timeline.answers().iter().map(|answered| answered.mark);
    let times = answers.chain(timeline.failures().iter().copied());
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for time in times.map(|mark| seconds(mark.took)) {
        low = low.min(time);
        high = high.max(time);
    }
    if low > high {
        return (0.0001, 1.0);
    }
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    // A hair below, so that the lowest power of ten is inside and has its label.
    (10f64.powf(low) * 0.999, 10f64.powf(high.max(low + 1.0)))
}

/// A time on a logarithmic axis: at least a microsecond.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64().max(1e-6)
}

/// `0.1 ms`, `10 ms`, `1 s`: for the axis, whose labels are powers of ten.
fn latency(seconds: f64) -> String {
    let milliseconds = (seconds * 1e6).round() / 1e3;
    match milliseconds < 1000.0 {
        true => format!("{milliseconds} ms"),
        false => format!("{} s", milliseconds / 1000.0),
    }
}

/// A version's name that fits into the legend.
fn short(name: &str) -> String {
    let name = shown(name);
    match name.chars().nth(NAME) {
        Some(_) => name.chars().take(NAME - 3).chain("...".chars()).collect(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Answer;
    use crate::stats::Entry;
    use tokio::time::Instant;

    /// The picture of a run with these answers; `None` is a failure.
    fn drawn(title: &str, run: &[Option<&str>]) -> String {
        let (mut timeline, mut stats) = (Timeline::new(), Stats::new());
        for body in run {
            let outcome = body.ok_or("refused".to_owned()).map(|body| Answer {
                status: 200,
                body: body.to_owned(),
                generation: None,
                server: None,
            });
            let entry = stats.enter(&outcome, Duration::from_millis(2));
            timeline.enter(entry, Instant::now(), None);
        }
        render(title, &timeline, &stats).expect("a picture")
    }

    /// What is drawn, without the style sheet.
    fn body(svg: &str) -> &str {
        svg.split("</style>").nth(1).expect("a style sheet, then a body")
    }

    #[test]
    fn failures_are_red_crosses_and_counted() {
        let cross = "stroke=\"#CF222E\"";
        let good = drawn("good", &[Some("one"), Some("two")]);
        assert!(
            !body(&good).contains(cross) && good.contains("0 failed"),
            "{good}"
        );
        let bad = drawn("bad", &[Some("one"), None]);
        assert!(body(&bad).contains(cross) && bad.contains("failed: 1"), "{bad}");
    }

    #[test]
    fn several_servers_have_a_line_each_and_one_is_for_failures() {
        let (mut timeline, mut stats) = (Timeline::new(), Stats::new());
        for (server, body) in [("web2", "new"), ("web1", "old"), ("web2", "new"), ("web1", "new")] {
            let outcome = Ok(Answer {
                status: 200,
                body: body.to_owned(),
                generation: Some("7".to_owned()),
                server: Some(server.to_owned()),
            });
            let entry = stats.enter(&outcome, Duration::from_millis(2));
            let changed = matches!(entry, Entry::Changed(_));
            assert_eq!(
                changed,
                timeline.answers().len() == 3,
                "a server is compared with itself"
            );
            timeline.enter(entry, Instant::now(), Some(server));
        }
        timeline.enter(Entry::Failed, Instant::now(), None);
        let svg = render("fleet", &timeline, &stats).expect("a picture");
        let places = ["web1", "web2", "lost"].map(|name| svg.find(&format!("\n{name}\n")).expect(name));
        assert!(places.is_sorted(), "{svg}");
        assert!(
            svg.contains("new: 3") && svg.contains("old: 1"),
            "versions are told by their answers: {svg}"
        );
        assert!(body(&svg).contains("stroke=\"#CF222E\""), "{svg}");
    }

    #[test]
    fn foreign_text_stays_text() {
        let svg = drawn("<script>&\u{1b}", &[Some("</text><script>"), Some("\u{1}\"")]);
        assert!(
            !svg.contains("<script") && !svg.contains('\u{1b}') && !svg.contains('\u{1}'),
            "{svg}"
        );
    }

    #[test]
    fn a_run_without_an_answer_has_a_picture() {
        for run in [&[][..], &[None]] {
            assert!(drawn("", run).trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn every_colour_has_a_dark_one() {
        let svg = drawn("all", &[Some("1"), Some("2"), Some("3"), Some("4"), None]);
        let style = svg.split("</style>").next().expect("a style sheet");
        for part in svg
            .split("</style>")
            .nth(1)
            .expect("a body")
            .split("=\"#")
            .skip(1)
        {
            let colour = &part[..6];
            assert!(
                style.contains(&format!("[fill=\"#{colour}\"]")),
                "#{colour} has no dark colour"
            );
        }
    }

    #[test]
    fn more_answers_than_marks_are_thinned_and_the_legend_says_so() {
        let svg = drawn("many", &vec![Some("one"); 5000]);
        assert!(svg.contains("1 of 4 answers drawn"), "not thinned");
        assert!(svg.matches("<circle").count() < 2001);
    }

    #[test]
    fn the_axis_names_powers_of_ten() {
        let named: Vec<_> = [0.0001, 0.001, 0.1, 1.0, 10.0].map(latency).into();
        assert_eq!(named, ["0.1 ms", "1 ms", "100 ms", "1 s", "10 s"]);
    }
}
