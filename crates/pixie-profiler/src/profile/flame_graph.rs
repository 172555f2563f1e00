//! Flame graphs: <https://www.brendangregg.com/flamegraphs.html>.

use super::frame::{Kind, ProfileFrame};
use super::{Measure, Profile, of};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

/// What runs in the reader's browser: zooming, searching, and telling of the frame under the mouse.
const SCRIPT: &str = include_str!("flame_graph.js");
const STYLE: &str = include_str!("flame_graph.css");

/// Height of a frame, of the head and of the foot, in pixels.
const ROW: usize = 18;
const HEAD: usize = 64;
const FOOT: usize = 34;

/// How a flame graph is drawn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FlameGraph {
    /// What is measured.
    pub measure: Measure,
    /// What is written above it.
    pub title: String,
    /// A second, smaller line.
    pub subtitle: String,
    /// Frames that are less than this share of the whole are not drawn: by default 0.0002, less than
    /// half a pixel on most screens.
    pub smallest: f64,
}

impl FlameGraph {
    /// A flame graph of `measure`.
    #[must_use]
    pub fn new(measure: Measure) -> Self {
        let title = match measure {
            Measure::Samples | Measure::CpuTime => "CPU time",
            Measure::Waits | Measure::BlockedTime => "Time off the CPU",
        };
        Self { measure, title: title.to_owned(), subtitle: String::new(), smallest: 0.0002 }
    }

    /// The same with another title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The same with another second line.
    #[must_use]
    pub fn with_subtitle(mut self, subtitle: impl Into<String>) -> Self {
        self.subtitle = subtitle.into();
        self
    }
}

impl Profile {
    /// Draws a flame graph: an SVG file that stands alone, in which a browser zooms (by a click) and
    /// searches (Ctrl-F or `/`, by regular expression). The width of a frame is its share of what is
    /// measured; what called it is below.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_flame_graph(
        &self,
        graph: &FlameGraph,
        mut writer: impl io::Write,
    ) -> io::Result<()> {
        let blocks = Blocks::of(self, graph.measure);
        let placed = blocks.layout(graph.smallest);
        let deepest = placed.iter().map(|placed| placed.depth).max().unwrap_or_default();
        let floor = HEAD + (deepest + 1) * ROW;
        let mut subtitle = graph.subtitle.clone();
        if blocks.dropped > 0 {
            let dropped = amount(graph.measure, blocks.dropped);
            let _ = write!(subtitle, " ({dropped} more found no room, and are not shown)");
        }
        if self.lost > 0 {
            let _ = write!(subtitle, " ({} samples were lost in the kernel)", self.lost);
        }
        writeln!(
            writer,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
             width=\"100%\" height=\"{0}\">\n<style>{STYLE}</style>\n\
             <rect id=\"paper\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"title\" x=\"50%\" y=\"26\">{1}</text>\n\
             <text class=\"subtitle\" x=\"50%\" y=\"46\">{2}</text>\n\
             <text id=\"reset\" class=\"button\" x=\"10\" y=\"26\">reset zoom</text>\n\
             <text id=\"search\" class=\"button\" x=\"99%\" y=\"26\">search</text>\n\
             <text id=\"matched\" x=\"99%\" y=\"46\"></text>\n\
             <text id=\"details\" x=\"10\" y=\"{3}\"></text>\n\
             <svg id=\"frames\" x=\"1%\" width=\"98%\" height=\"{0}\">",
            floor + FOOT,
            escaped(&graph.title),
            escaped(subtitle.trim()),
            floor + 22,
        )?;
        let (measure, all) = (graph.measure, blocks.total.max(1));
        let whole = ("all", Kind::Group, "");
        rectangle(&mut writer, measure, floor - ROW, (0, blocks.total, all), whole)?;
        for Placed { depth, start, block } in placed {
            let of = match (&block.frame.file, &block.frame.binary) {
                (Some(file), _) => format!(" — {file}"),
                (None, Some(binary)) => format!(" — {binary}"),
                (None, None) => String::new(),
            };
            let (y, span) = (floor - (depth + 1) * ROW, (start, block.total, all));
            let shown = (block.name.as_str(), block.frame.kind, of.as_str());
            rectangle(&mut writer, measure, y, span, shown)?;
        }
        writeln!(writer, "</svg>\n<script><![CDATA[\n{SCRIPT}]]></script>\n</svg>")?;
        writer.flush()
    }
}

/// A function in the drawing: unlike in the profile, its lines are one.
struct Block<'a> {
    frame: &'a ProfileFrame,
    name: String,
    total: u64,
    children: Vec<usize>,
}

struct Blocks<'a> {
    list: Vec<Block<'a>>,
    roots: Vec<usize>,
    total: u64,
    dropped: u64,
}

impl<'a> Blocks<'a> {
    fn of(profile: &'a Profile, measure: Measure) -> Self {
        let mut list: Vec<Block<'a>> = Vec::new();
        let mut parents = Vec::new();
        let mut roots = BTreeMap::new();
        let mut known = HashMap::new();
        let mut place = Vec::new();
        let mut own = Vec::new();
        for node in profile.tree.nodes() {
            let frame = profile.frames.get(node.frame);
            let parent: Option<usize> = place.get(node.parent as usize).copied();
            let name = frame.shown();
            let key = (parent, frame.kind, name.clone(), frame.binary.as_ref());
            let block = *known.entry(key).or_insert_with(|| {
                if parent.is_none() {
                    roots.insert(name.clone(), list.len());
                }
                list.push(Block { frame, name, total: 0, children: Vec::new() });
                parents.push(parent);
                own.push(0_u64);
                list.len() - 1
            });
            place.push(block);
            if let Some(own) = own.get_mut(block) {
                *own = own.saturating_add(of(&node.own, measure));
            }
        }
        // Those that were called come after their callers.
        for index in (0..list.len()).rev() {
            let own = own.get(index).copied().unwrap_or_default();
            let Some(block) = list.get_mut(index) else { continue };
            block.total = block.total.saturating_add(own);
            let total = block.total;
            let parent = parents.get(index).copied().flatten();
            if let Some(parent) = parent.and_then(|parent| list.get_mut(parent)) {
                parent.total = parent.total.saturating_add(total);
                parent.children.push(index);
            }
        }
        let mut blocks = Self {
            list,
            roots: roots.into_values().collect(),
            total: 0,
            dropped: profile.dropped(measure),
        };
        blocks.total = profile.total(measure);
        blocks.sort();
        blocks
    }

    /// Puts neighbours in the order of their names, so that the same profile gives the same drawing.
    fn sort(&mut self) {
        let names: Vec<String> = self.list.iter().map(|block| block.name.clone()).collect();
        for block in &mut self.list {
            block.children.sort_by_key(|child| names.get(*child));
        }
    }
}

/// Where a function is drawn.
struct Placed<'a> {
    /// Counted from the bottom, which is all of it.
    depth: usize,
    start: u64,
    block: &'a Block<'a>,
}

impl Blocks<'_> {
    /// What is to be drawn, row by row from the bottom.
    fn layout(&self, smallest: f64) -> Vec<Placed<'_>> {
        let smallest = smallest * self.total as f64;
        let mut placed = Vec::new();
        // Not by recursion: stacks may be deep.
        let mut waiting = Vec::new();
        let mut start = 0;
        for root in self.roots.iter().filter_map(|root| self.list.get(*root)) {
            waiting.push(Placed { depth: 1, start, block: root });
            start += root.total;
        }
        while let Some(next) = waiting.pop() {
            let Placed { depth, mut start, block } = next;
            if block.total == 0 || (block.total as f64) < smallest {
                continue;
            }
            placed.push(Placed { depth, start, block });
            for child in block.children.iter().filter_map(|child| self.list.get(*child)) {
                waiting.push(Placed { depth: depth + 1, start, block: child });
                start += child.total;
            }
        }
        placed.sort_by_key(|placed| (placed.depth, placed.start));
        placed
    }
}

fn rectangle(
    writer: &mut impl io::Write,
    measure: Measure,
    y: usize,
    (start, width, all): (u64, u64, u64),
    (name, kind, of): (&str, Kind, &str),
) -> io::Result<()> {
    let percent = |value: u64| 100.0 * value as f64 / all as f64;
    let (x, share) = (percent(start), percent(width));
    let (shown, of) = (escaped(name), escaped(of));
    let (amount, colour) = (amount(measure, width), colour(name, kind));
    // A drawing of its own clips the name to the frame.
    writeln!(
        writer,
        "<svg class=\"f\" x=\"{x:.5}%\" width=\"{share:.5}%\" y=\"{y}\" height=\"{}\"><title>{shown}\
         {of} ({amount}, {share:.2}%)</title><rect width=\"100%\" height=\"100%\" fill=\"{colour}\"/>\
         <text x=\"3\" y=\"13\">{shown}</text></svg>",
        ROW - 1,
    )
}

fn amount(measure: Measure, value: u64) -> String {
    match measure {
        Measure::Samples => format!("{value} samples"),
        Measure::Waits => format!("{value} waits"),
        Measure::CpuTime | Measure::BlockedTime => format!("{:.3?}", Duration::from_nanos(value)),
    }
}

/// Warm for programs, red for the kernel, green for what was inlined, grey for what is not known.
/// Functions of the same name have the same colour.
fn colour(name: &str, kind: Kind) -> String {
    let hash = name
        .bytes()
        .fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)));
    let (hue, light) = (hash % 24, 62 + hash / 24 % 12);
    match kind {
        Kind::User => format!("hsl({},88%,{light}%)", 28 + hue),
        Kind::Inlined => format!("hsl({},48%,{light}%)", 88 + hue),
        Kind::Kernel => format!("hsl({},82%,{light}%)", hue / 2),
        Kind::Group => format!("hsl(210,20%,{}%)", 76 + hash % 10),
        Kind::Unnamed | Kind::Cut => format!("hsl(0,0%,{}%)", 74 + hash % 10),
    }
}

/// Text as it stands in XML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write these.
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push(' ');
            }
            letter => out.push(letter),
        }
    }
    out
}
