//! What a prompt says of the film itself rather than of what it shows: shape, size, format, colours, pace, titles.

use std::ops::Range;
use std::sync::LazyLock;

use manimq_shared::job::{Aspect, Format, OutputSpec, Quality};
use regex::Regex;
use serde_json::{Map, Value, json};

use super::Evidence;
use super::text::{Text, capital};

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
}

impl Wishes {
    /// Puts them into a request's output.
    pub fn apply(self, output: &mut OutputSpec) {
        output.format = self.format.unwrap_or(output.format);
        output.quality = self.quality.unwrap_or(output.quality);
        output.aspect = self.aspect.unwrap_or(output.aspect);
        output.transparent = self.transparent.unwrap_or(output.transparent);
        // A transparent film needs a format that can be.
        if self.transparent == Some(true) && !output.format.can_be_transparent() {
            output.format = Format::Webm;
        }
    }
}

#[derive(Clone, Copy)]
enum Wish {
    Format(Format),
    Quality(Quality),
    Aspect(Aspect),
    Transparent,
    Param(&'static str, &'static str),
    /// Said of the film, and of no use here.
    Nothing,
}

static WISHES: LazyLock<Vec<(Regex, Wish)>> = LazyLock::new(|| {
    let film = r"(?:\s+(?:video|animation|film|clip|movie|format|mode|aspect|aspect ratio|shape|version|output|file|quality))";
    let optional = format!("{film}?");
    let of = |words: &str, tail: &str, wish: Wish| {
        let pattern =
            format!(r"(?:\b(?:in|as|with|as an?|for)\s+)?(?:\ban?\s+)?\b(?:{words})\b{tail}");
        Regex::new(&pattern).ok().map(|regex| (regex, wish))
    };
    [
        of(r"9:16|vertical(?:ly)?|portrait|for (?:tiktok|reels|shorts|phones?|mobile)|tiktok|youtube shorts", &optional, Wish::Aspect(Aspect::Tall)),
        of(r"1:1|square", film, Wish::Aspect(Aspect::Square)),
        of(r"1:1|square (?:aspect|format|video)", &optional, Wish::Aspect(Aspect::Square)),
        of(r"16:9|landscape|widescreen", &optional, Wish::Aspect(Aspect::Wide)),
        of(r"4k|uhd|2160p", &optional, Wish::Quality(Quality::FourK)),
        of(r"1440p", &optional, Wish::Quality(Quality::Production)),
        of(r"1080p|full hd|hd|high[- ]quality|high resolution", &optional, Wish::Quality(Quality::High)),
        of(r"720p|medium[- ]quality", &optional, Wish::Quality(Quality::Medium)),
        of(r"480p|low[- ]quality|draft|preview quality", &optional, Wish::Quality(Quality::Low)),
        of(r"gif", &optional, Wish::Format(Format::Gif)),
        of(r"webm", &optional, Wish::Format(Format::Webm)),
        of(r"mp4", &optional, Wish::Format(Format::Mp4)),
        of(r"png|still(?: image| picture| frame)?|(?:a )?single (?:image|picture|frame)", "", Wish::Format(Format::Png)),
        of(r"transparent(?: background)?|without (?:a )?background", "", Wish::Transparent),
        of(r"light (?:theme|mode|palette|background)|white background", "", Wish::Param("palette", "light")),
        of(r"dark (?:theme|mode|palette|background)|black background", "", Wish::Param("palette", "dark")),
        of(r"slowly|slow(?: pace| motion)?|at a slow pace", "", Wish::Param("pace", "slow")),
        of(r"quickly|fast(?: pace)?|at a fast pace", "", Wish::Param("pace", "fast")),
        of(r"\d+(?:\.\d+)?[- ]?(?:seconds?|secs?|minutes?|mins?)(?: long)?", "", Wish::Nothing),
        of(r"\d+ ?fps", "", Wish::Nothing),
    ]
    .into_iter()
    .flatten()
    .collect()
});

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
    let mut note = |kind: &str, at: Range<usize>, text: &Text| {
        evidence.push(Evidence::new(kind, at, text));
    };
    titles(text, params, &mut note);
    if let Some(found) = BACKGROUND
        .as_ref()
        .and_then(|regex| regex.captures(&text.lower))
    {
        let (all, colour) = (found.get(0).map(|m| m.range()), found.get(1));
        if let (Some(all), Some(colour)) = (all, colour)
            && (crate::templates::is_colour(colour.as_str()))
            && !matches!(colour.as_str(), "white" | "black")
        {
            params.insert("background".into(), json!(colour.as_str()));
            note("background", all.clone(), text);
            text.blank(all);
        }
    }
    for (regex, wish) in WISHES.iter() {
        let Some(at) = regex.find(&text.lower).map(|found| found.range()) else {
            continue;
        };
        match *wish {
            Wish::Format(format) => wishes.format = Some(format),
            Wish::Quality(quality) => wishes.quality = Some(quality),
            Wish::Aspect(aspect) => wishes.aspect = Some(aspect),
            Wish::Transparent => wishes.transparent = Some(true),
            Wish::Param(name, value) => {
                params.insert(name.into(), json!(value));
            }
            Wish::Nothing => {
                text.blank(at);
                continue;
            }
        }
        note("output", at.clone(), text);
        text.blank(at);
    }
    wishes
}

fn titles(
    text: &mut Text,
    params: &mut Map<String, Value>,
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
        params.insert(name.into(), json!(text.written(&quoted)));
        note(name, all.clone(), text);
        text.blank(if is_card { quoted } else { all });
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
