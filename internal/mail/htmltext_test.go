package mail

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHTMLToText(t *testing.T) {
	for _, tt := range []struct{ name, html, want string }{
		{"empty", "", ""},
		{"white space", "  <p> Chère\n\t Madame , </p>  ", "Chère Madame ,"},
		{"paragraphs", "<p>Un</p><p>Deux</p>trois", "Un\n\nDeux\n\ntrois"},
		{"lines", "Un<br>Deux<br><br>Trois<div>Quatre</div><div><div>Cinq</div></div>", "Un\nDeux\n\nTrois\nQuatre\nCinq"},
		{"break at the end of a paragraph", "<p>Un<br></p><p>Deux</p>", "Un\n\nDeux"},
		{"no more than two empty lines", "Un<br><br><br><br><br><br>Deux", "Un\n\n\nDeux"},
		{"inline", "<b>Montant</b>: <i>1.210,00&nbsp;&euro;</i><span>!</span>", "Montant: 1.210,00 €!"},
		{"entities", "&lt;b&gt; &amp;amp; &#233; &eacute;", "<b> &amp; é é"},
		{"heading", "<h1>Facture</h1>texte", "Facture\n\ntexte"},
		{"not seen", "<head><title>t</title><style>p{}</style></head><script>x()</script><div style='DISPLAY : none'>preview</div>a<!-- c --><template>q</template>", "a"},
		{"link", `<a href="https://zoe.example/pay?a=1&amp;b=2">Payer</a>`, "Payer (https://zoe.example/pay?a=1&b=2)"},
		{"link that says it all", `<a href="https://zoe.example/">zoe.example</a> <a href="https://zoe.example/x">https://zoe.example/x</a>`, "zoe.example https://zoe.example/x"},
		{"link without text", `<a href="https://zoe.example/x"><img src="y.png"></a>`, "https://zoe.example/x"},
		{"other links", `<a href="mailto:a@zoe.example">a@zoe.example</a> <a href="mailto:a@zoe.example?subject=x">Zoë</a> <a href="#top">haut</a> <a name="x">ici</a>`, "a@zoe.example Zoë (a@zoe.example) haut ici"},
		{"image", `<img src="cid:logo" alt="Café Zoë"> <img src="pixel.gif">`, "Café Zoë"},
		{"list", "avant<ul><li>Un</li><li>Deux<br>suite</li></ul>après", "avant\n\n- Un\n- Deux\n  suite\n\naprès"},
		{"numbered list", `<ol start="9"><li>Neuf<p>bis</p></li><li>Dix<ul><li>a</li><li>b</li></ul></li></ol>`, "9. Neuf\n\n   bis\n\n10. Dix\n    - a\n    - b"},
		{"empty item", "<ul><li></li><li><ul><li></li></ul>x</li></ul>", "- x"},
		{"quotation", "<p>Vous écriviez :</p><blockquote><p>Un</p><p>Deux</p><blockquote>Trois</blockquote></blockquote>fin", "Vous écriviez :\n\n> Un\n>\n> Deux\n>\n> > Trois\n\nfin"},
		{"rule", "a<hr>b", "a\n\n----------\n\nb"},
		{"preformatted", "<pre>a\n  b\n\nc</pre>", "a\n  b\n\nc"},
		{"data table", "<table><thead><tr><th>Service</th><th>Montant</th></tr></thead><tr><td>Bilan</td><td>1.000,00</td></tr><tr><td>TVA</td><td></td><td>x</td></tr></table>",
			"Service | Montant\nBilan | 1.000,00\nTVA |  | x"},
		{"layout table", "<table><tr><td>&nbsp;</td><td><p>Un</p><p>Deux</p></td><td><img src=x></td></tr><tr><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>",
			"Un\n\nDeux\n\na | b"},
		{"zero width", "a\u200bb&shy;c&#65279;d", "abcd"},
		{"too deep to parse", strings.Repeat("<div>", 2000) + "fond<style>x</style>", "fond"},
	} {
		if got := HTMLToText(tt.html); got != tt.want {
			t.Errorf("%s:\n%s\nwant:\n%s", tt.name, got, tt.want)
		}
	}
}

func FuzzHTMLToText(f *testing.F) {
	for _, s := range []string{
		"<p>a<p>b", "<ul><li>a<li><ul><li>b</ul></ul>", "<table><tr><td>a<td><table><tr><td>b", "<blockquote><ol start=-3><li><pre> x\n\ny",
		"<a href='https://x'><b>y", "<div style=display:none>a</div>", "&nbsp;&#xFDD0;1&#xFDD1;", "<!--x", "<a href=", "<svg><title>x", "<li><blockquote>a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := HTMLToText(s)
		if utf8.ValidString(s) && !utf8.ValidString(text) {
			t.Fatalf("%q gives invalid UTF-8", s)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.TrimRight(line, " \t") != line {
				t.Fatalf("%q: line %q ends in white space", s, line)
			}
		}
		// However it is cut at its words, HTML stays what it is.
		var b strings.Builder
		for _, p := range scanHTML(s).parts {
			b.WriteString(p.literal + p.word)
		}
		if b.String() != s {
			t.Fatalf("%q was split into %q", s, b.String())
		}
	})
}
