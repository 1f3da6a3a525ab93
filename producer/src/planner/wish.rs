//! What a prompt says of the film itself rather than of what it shows: shape, size, format, colours, pace, titles.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::LazyLock;

use manimq_shared::job::{Aspect, Format, FrameRate, OutputSpec, Quality};
use regex::Regex;
use serde_json::{Map, Value, json};

use super::Evidence;
use super::text::{Text, capital, is_filler};

/// Wishes about the output; what is not said stays as the request has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Wishes {
    /// File type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Size and rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Shape of the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspect: Option<Aspect>,
    /// Leave the background out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent: Option<bool>,
    /// Frames per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub fps: Option<FrameRate>,
}

impl Wishes {
    /// Puts them into a request's output, where the prompt's word is the one that counts: an exact size gives way to a
    /// quality, and to a shape that it does not have. What is to be told of that is returned.
    pub fn apply(self, output: &mut OutputSpec) -> Option<String> {
        let exact = output.exact_size();
        let keeps_exact = exact.is_some_and(|size| {
            self.quality.is_none() && self.aspect.is_none_or(|aspect| aspect == shape(size))
        });
        if !keeps_exact {
            (output.width, output.height) = (None, None);
            output.aspect = self.aspect.unwrap_or(output.aspect);
        }
        output.format = self.format.unwrap_or(output.format);
        output.quality = self.quality.unwrap_or(output.quality);
        output.transparent = self.transparent.unwrap_or(output.transparent);
        output.fps = self.fps.or(output.fps);
        // A transparent film needs a format that can be.
        if self.transparent == Some(true) && !output.format.can_be_transparent() {
            output.format = Format::Webm;
        }
        let (width, height) = exact.filter(|_| !keeps_exact)?;
        let quality = self.quality.map(|quality| quality.to_string());
        let said = quality.into_iter();
        let said = said.chain(self.aspect.map(|aspect| aspect.to_string()));
        Some(format!(
            "{width}x{height}, asked for beside the prompt, is not used: the prompt says {}",
            said.collect::<Vec<_>>().join(" and ")
        ))
    }
}

/// What a picture of this width and height would be called.
fn shape((width, height): (u32, u32)) -> Aspect {
    match width.cmp(&height) {
        Ordering::Greater => Aspect::Wide,
        Ordering::Less => Aspect::Tall,
        Ordering::Equal => Aspect::Square,
    }
}

#[derive(Clone, Copy)]
enum Wish {
    Format(Format),
    Quality(Quality),
    Aspect(Aspect),
    Transparent,
    Param(&'static str, &'static str),
    Fps,
    /// How long the film is to be, which cannot be had: that follows from what it shows.
    Length,
}

/// The kind of evidence that was understood and decides nothing.
const UNUSED: &str = "unused";

/// What is told of wishes that cannot be had.
pub(super) fn notes(evidence: &[Evidence]) -> Vec<String> {
    let unused = evidence.iter().filter(|found| found.kind == UNUSED);
    let told = unused.map(|found| {
        let length = found.text.trim();
        format!("{length:?} is not used: how long a film is follows from what it shows")
    });
    told.collect()
}

/// When a word is a wish and not what the film is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Said,
    /// After `in`, `as` or `at`, before a word for the film, or alone at an end of the prompt.
    OfTheFilm,
    /// Or after `a`.
    OrAfterA,
    /// Or at the end of the prompt, or before what is asked for: `4k plot of x^2`.
    OrLast,
    /// Or there, or as its first word: `slowly show`.
    OrFirst,
    /// Before a word for the film, or at an end of the prompt: `in 30 seconds` may be said of anything.
    AtAnEnd,
}

struct Pattern {
    regex: Regex,
    when: When,
    wish: Wish,
}

static WISHES: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    use When::{AtAnEnd, OfTheFilm, OrAfterA, OrFirst, OrLast, Said};
    let film = r"(?:\s+(?:video|animation|film|clip|movie|format|mode|aspect|aspect ratio|shape|version|output|file|quality|image|picture|frame))";
    let optional = format!("{film}?");
    let of = |when: When, words: &str, tail: &str, wish: Wish| {
        let pattern = format!(
            r"(?P<before>(?:\b(?:in|as|at|with|as an?|for|about|around)\s+)?(?:\ban?\s+)?)\b(?:{words})\b(?P<after>{tail})"
        );
        let regex = Regex::new(&pattern).ok()?;
        Some(Pattern { regex, when, wish })
    };
    [
        of(
            Said,
            r"9:16|for (?:tiktok|reels|shorts|phones?|mobile)|youtube shorts",
            &optional,
            Wish::Aspect(Aspect::Tall),
        ),
        of(
            OrLast,
            r"vertical(?:ly)?",
            &optional,
            Wish::Aspect(Aspect::Tall),
        ),
        of(
            OfTheFilm,
            r"portrait",
            &optional,
            Wish::Aspect(Aspect::Tall),
        ),
        of(OrAfterA, r"tiktok", &optional, Wish::Aspect(Aspect::Tall)),
        of(Said, r"1:1|square", film, Wish::Aspect(Aspect::Square)),
        of(
            Said,
            r"1:1|square (?:aspect|format|video)",
            &optional,
            Wish::Aspect(Aspect::Square),
        ),
        of(
            Said,
            r"16:9|widescreen",
            &optional,
            Wish::Aspect(Aspect::Wide),
        ),
        of(
            OfTheFilm,
            r"landscape",
            &optional,
            Wish::Aspect(Aspect::Wide),
        ),
        of(
            OrLast,
            r"4k|uhd|2160p",
            &optional,
            Wish::Quality(Quality::FourK),
        ),
        of(
            OrLast,
            r"1440p",
            &optional,
            Wish::Quality(Quality::Production),
        ),
        of(
            OrLast,
            r"1080p|full hd|hd|high[- ]quality|high resolution",
            &optional,
            Wish::Quality(Quality::High),
        ),
        of(
            OrLast,
            r"720p|medium[- ]quality",
            &optional,
            Wish::Quality(Quality::Medium),
        ),
        of(
            OrLast,
            r"480p|low[- ]quality|preview quality",
            &optional,
            Wish::Quality(Quality::Low),
        ),
        of(OfTheFilm, r"draft", &optional, Wish::Quality(Quality::Low)),
        of(OrAfterA, r"gif", &optional, Wish::Format(Format::Gif)),
        of(OrAfterA, r"webm", &optional, Wish::Format(Format::Webm)),
        of(OrAfterA, r"mp4", &optional, Wish::Format(Format::Mp4)),
        of(OrAfterA, r"png", &optional, Wish::Format(Format::Png)),
        of(
            Said,
            r"(?:still|single) (?:image|picture|frame)",
            "",
            Wish::Format(Format::Png),
        ),
        of(
            Said,
            r"transparent background|without (?:a )?background",
            "",
            Wish::Transparent,
        ),
        of(OrLast, r"transparent", &optional, Wish::Transparent),
        of(
            Said,
            r"light (?:theme|mode|palette|background)|white background",
            "",
            Wish::Param("palette", "light"),
        ),
        of(
            Said,
            r"dark (?:theme|mode|palette|background)|black background",
            "",
            Wish::Param("palette", "dark"),
        ),
        of(
            OrFirst,
            r"slowly|slow pace|slow motion|at a slow pace",
            "",
            Wish::Param("pace", "slow"),
        ),
        of(
            OrFirst,
            r"quickly|fast pace|at a fast pace",
            "",
            Wish::Param("pace", "fast"),
        ),
        of(
            AtAnEnd,
            r"\d+(?:\.\d+)?[- ]?(?:seconds?|secs?|minutes?|mins?)",
            &format!("(?:{film}| long)?"),
            Wish::Length,
        ),
        of(
            OrLast,
            r"\d{1,6}(?:\.\d{1,3})? ?(?:fps|frames (?:per|a) second)",
            &optional,
            Wish::Fps,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
});

/// Most places at which a word is looked at.
const PLACES_MAX: usize = 20;

impl Pattern {
    /// Where the wish stands in what is left of a prompt.
    fn find(&self, seen: &str) -> Option<Range<usize>> {
        let mut all = self.regex.captures_iter(seen).take(PLACES_MAX);
        all.find_map(|found| {
            let at = found.get(0)?.range();
            let part = |name: &str| found.name(name).map_or("", |part| part.as_str());
            (self.when == When::Said
                || !part("after").is_empty()
                || self.fits(part("before"), &seen[..at.start], &seen[at.end..])
                || self.leads(&seen[..at.start], &seen[at.clone()], &seen[at.end..]))
            .then_some(at)
        })
    }

    /// Whether what is asked for follows: `a 4k plot of x^2`, but not `vertical graph shifts`.
    fn leads(&self, before: &str, words: &str, after: &str) -> bool {
        let of_the_film = matches!(self.wish, Wish::Quality(_) | Wish::Fps);
        let made = if of_the_film { &MADE } else { &MAKING };
        // `4k` and `60 fps` may be what the prompt is about.
        let plain = words.contains("quality") || words.contains("resolution");
        let asks = |word: &str| is_filler(word) || ASKING.contains(&word);
        self.when == When::OrLast
            && (plain || before.split_whitespace().all(asks))
            && made
                .as_ref()
                .is_some_and(|regex| regex.is_match(after.trim_start()))
    }

    fn fits(&self, introduced: &str, before: &str, after: &str) -> bool {
        let first = introduced.split_whitespace().next();
        let of_the_film = matches!(first, Some("in" | "as" | "at"));
        if of_the_film && self.when != When::AtAnEnd
            || self.when == When::OrAfterA && matches!(first, Some("a" | "an"))
        {
            return true;
        }
        // Other wishes are blank by now, what joined them is not.
        let before = before.trim_end();
        // `GIF or 4K`: what is compared.
        if COMPARING.iter().any(|word| before.ends_with(word)) {
            return false;
        }
        let joined = before.ends_with([',', ';', '.', '!'])
            || before.ends_with(" and")
            || self.when == When::AtAnEnd && first.is_some();
        let after = after.trim();
        let last = after.split([' ', ',', '.', '!', '\n']);
        let last = last
            .into_iter()
            .all(|word| matches!(word, "" | "and" | "please"));
        last && (joined || matches!(self.when, When::OrLast | When::OrFirst))
            || before.is_empty() && (after.starts_with([',', ':']) || self.when == When::OrFirst)
    }
}

/// Verbs that ask for a film, after further wishes.
static MAKING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = format!(r"^(?:{FURTHER})*(?:{VERBS})\b");
    Regex::new(&pattern).ok()
});
/// Those, and what a film shows.
static MADE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = format!(r"^(?:{FURTHER})*(?:{VERBS}|{NOUNS})s?\b");
    Regex::new(&pattern).ok()
});
const FURTHER: &str = r"(?:\d[\d.]* ?fps|\d{3,4}p|4k|uhd|(?:full )?hd|(?:high|medium|low)[- ]quality|gif|mp4|webm|vertical|transparent),?\s+";
const VERBS: &str = "plot|show|animate|draw|sketch|render|visuali[sz]e|illustrate|explain";
const NOUNS: &str = "graph|chart|diagram|timeline|bar chart|pie chart|line chart|flowchart|venn|title card|derivative|tangent|slope|integral|area under|area between|riemann|taylor|limit of|function|parabola|curve|surface|3d|proof|pythagoras|pythagorean|unit circle|number line|matrix|vector|truth table|neural|(?:bubble|merge|quick|insertion|selection|heap) ?sort|sorting|binary search|bfs|dijkstra";
/// Words with which one asks, beside those that say nothing.
const ASKING: &[&str] = &[
    "can", "could", "give", "i", "like", "need", "us", "want", "would", "you",
];

/// What stands before the second of two things.
const COMPARING: &[&str] = &[" vs", " vs.", " versus", " or", " than", " against"];

static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?s)```.*?(?:```|$)|`[^`\n]*`|"[^"\n]*"|[“„][^“”\n]*[“”]"#).ok()
});

/// A prompt without what is quoted in it: code and other people's words ask for nothing.
fn unquoted(text: &Text) -> Text {
    let mut seen = text.clone();
    for quoted in QUOTED.iter().flat_map(|regex| regex.find_iter(&text.lower)) {
        seen.blank(quoted.range());
    }
    seen
}

static BACKGROUND: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:on|with|over)\s+an?\s+(#[0-9a-f]{3,6}|[a-z]+)\s+background\b").ok()
});
static QUOTED_TITLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:\b(?:with|and)\s+)?(?:\b(?:the|a|an)\s+)?\b(subtitle|title|titled|called|headed|headline|named)\s*(?:card\s*)?[:=]?\s*(?:saying\s+|reading\s+)?["“”„'‘]([^"“”'’\n]{1,160})["“”'’]"#).ok()
});
static TITLE_ABOUT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?:with\s+)?(?:an?|the)?\s*title\s+(?:about|on|saying|of)\s+([^,.;\n]{1,80})")
        .ok()
});

/// Finds wishes, and takes them out of the text; common parameters go into `params`.
pub(super) fn find(
    text: &mut Text,
    params: &mut Map<String, Value>,
    evidence: &mut Vec<Evidence>,
) -> Wishes {
    let mut wishes = Wishes::default();
    // What is not to be shown if it begins or ends the prompt.
    let mut said = Vec::new();
    titles(text, params, &mut said, &mut |kind, at, text| {
        evidence.push(Evidence::new(kind, at, text));
    });
    let mut seen = unquoted(text);
    let mut take = |kind: &str, at: Range<usize>, seen: &mut Text, text: &mut Text| {
        evidence.push(Evidence::new(kind, at.clone(), text));
        seen.blank(at.clone());
        text.blank(at.clone());
        said.push(at);
    };
    if let Some(found) = BACKGROUND
        .as_ref()
        .and_then(|regex| regex.captures(&seen.lower))
        && let (Some(all), Some(colour)) = (found.get(0), found.get(1))
        && crate::templates::is_colour(colour.as_str())
        && !matches!(colour.as_str(), "white" | "black")
    {
        params.insert("background".into(), json!(colour.as_str()));
        let all = all.range();
        take("background", all, &mut seen, text);
    }
    let mut found = vec![false; WISHES.len()];
    // What stands at the end only when the other wishes are blank is found the second time.
    for _ in 0..2 {
        for (pattern, found) in WISHES.iter().zip(&mut found) {
            if *found {
                continue;
            }
            let Some(at) = pattern.find(&seen.lower) else {
                continue;
            };
            *found = true;
            match pattern.wish {
                Wish::Format(format) => wishes.format = Some(format),
                Wish::Quality(quality) => wishes.quality = Some(quality),
                Wish::Aspect(aspect) => wishes.aspect = Some(aspect),
                Wish::Transparent => wishes.transparent = Some(true),
                Wish::Param(name, value) => {
                    params.insert(name.into(), json!(value));
                }
                Wish::Fps => wishes.fps = rate(&seen.lower[at.clone()]),
                Wish::Length => {}
            }
            let kind = match pattern.wish {
                Wish::Length => UNUSED,
                _ => "output",
            };
            take(kind, at, &mut seen, text);
        }
    }
    text.hide(&said);
    wishes
}

/// The number of `at 24 fps`.
fn rate(text: &str) -> Option<FrameRate> {
    let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    FrameRate::new(text[..end].parse().ok()?)
}

/// Words that are left where a piece of a prompt says nothing but wishes.
const EMPTY: &[&str] = &[
    "a", "an", "and", "as", "be", "film", "for", "in", "it", "make", "on", "please", "should",
    "the", "video", "with",
];

/// The wishes of a piece of a prompt that is about nothing else.
pub(super) fn alone(piece: &str) -> Option<(Wishes, Map<String, Value>, Vec<Evidence>)> {
    let mut text = Text::new(piece);
    let (mut params, mut evidence) = (Map::new(), Vec::new());
    let wishes = find(&mut text, &mut params, &mut evidence);
    let words = text.words();
    let rest = words.iter().map(|word| &text.lower[word.at.clone()]);
    let is_all = rest.into_iter().all(|word| EMPTY.contains(&word));
    (is_all && !evidence.is_empty()).then_some((wishes, params, evidence))
}

fn titles(
    text: &mut Text,
    params: &mut Map<String, Value>,
    said: &mut Vec<Range<usize>>,
    note: &mut impl FnMut(&str, Range<usize>, &Text),
) {
    while let Some(found) = QUOTED_TITLE
        .as_ref()
        .and_then(|regex| regex.captures(&text.lower))
    {
        let (Some(all), Some(word), Some(quoted)) = (found.get(0), found.get(1), found.get(2))
        else {
            break;
        };
        let name = if word.as_str() == "subtitle" {
            "subtitle"
        } else {
            "title"
        };
        // The card itself still has to be found.
        let is_card = all.as_str().contains("card");
        let (all, quoted) = (all.range(), quoted.range());
        let quote = text.lower[..quoted.start]
            .char_indices()
            .next_back()
            .map_or(quoted.start, |(at, _)| at);
        params.insert(name.into(), json!(text.written(&quoted)));
        note(name, all.clone(), text);
        // The quotes go too, or it would be found again.
        if !is_card {
            said.push(all.clone());
        }
        text.blank(if is_card { quote..all.end } else { all });
    }
    if !params.contains_key("title")
        && let Some(found) = TITLE_ABOUT
            .as_ref()
            .and_then(|regex| regex.captures(&text.lower))
        && let (Some(all), Some(about)) = (found.get(0), found.get(1))
    {
        let (all, about) = (all.range(), about.range());
        params.insert("title".into(), json!(capital(text.written(&about).trim())));
        note("title", all.clone(), text);
        // What the title is about is what the film is about.
        text.blank(all.start..about.start);
    }
}
