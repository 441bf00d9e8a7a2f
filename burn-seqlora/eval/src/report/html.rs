//! HTML and SVG as values. Text and attributes are escaped, so nothing that a user wrote becomes markup.

use std::fmt::{self, Display, Write};
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};

/// A piece of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

/// Attributes by name.
pub type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Html {
    /// Markup of this program's own.
    pub fn markup(markup: &'static str) -> Self {
        Self(markup.into())
    }

    /// Plain text.
    pub fn text(text: impl Display) -> Self {
        Self(escape(text))
    }

    /// An element with its children.
    pub fn element(
        tag: &'static str,
        attributes: Attributes,
        children: impl IntoIterator<Item = Html>,
    ) -> Self {
        let Html(mut html) = Self::void(tag, attributes);
        children.into_iter().for_each(|child| html.push_str(&child.0));
        write!(html, "</{tag}>").expect("memory takes it");
        Self(html)
    }

    /// An element that has no children and no end, such as `img`.
    pub fn void(tag: &'static str, attributes: Attributes) -> Self {
        let mut html = format!("<{tag}");
        for (name, value) in attributes {
            write!(html, " {name}=\"{}\"", escape(value)).expect("memory takes it");
        }
        html.push('>');
        Self(html)
    }

    /// An image inside the page; `alternative` is read where it cannot be seen.
    pub fn image(image: &RgbImage, alternative: &str) -> Self {
        let mut png = Cursor::new(Vec::new());
        image.write_to(&mut png, ImageFormat::Png).expect("memory takes it");
        let source = format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner()));
        let (width, height) = image.dimensions();
        Self::void(
            "img",
            &[("src", &source), ("width", &width), ("height", &height), ("alt", &alternative)],
        )
    }
}

impl Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Html>>(pieces: I) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect())
    }
}

fn escape(text: impl Display) -> String {
    let mut escaped = String::new();
    for letter in text.to_string().chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let html = Html::element("p", &[("title", &"\"><b>")], [Html::text("<script>&'")]);
        let expected = "<p title=\"&quot;&gt;&lt;b&gt;\">&lt;script&gt;&amp;&#39;</p>";
        assert_eq!(html.to_string(), expected);
    }

    #[test]
    fn an_image_is_in_the_page_bit_for_bit() {
        let image = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 200]));
        let html = Html::image(&image, "a <b>").to_string();
        assert!(html.contains("width=\"3\" height=\"2\" alt=\"a &lt;b&gt;\""), "{html}");
        let data = html.split("base64,").nth(1).unwrap().split('"').next().unwrap();
        let png = STANDARD.decode(data).unwrap();
        assert_eq!(image::load_from_memory(&png).unwrap().into_rgb8(), image);
    }
}
