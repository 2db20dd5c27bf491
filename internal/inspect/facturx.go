package inspect

import (
	"bytes"
	"compress/zlib"
	"io"
)

const (
	maxEmbedded = 16       // embedded files that are looked into
	maxDict     = 2 << 10  // bytes before a stream that may be its dictionary
	maxInflated = 4 << 20  // of one of them
	maxLooked   = 32 << 20 // of a PDF
)

// FacturX gives the number of the invoice that is embedded in a PDF (Factur-X, ZUGFeRD 2). It is "" when there is none, or none
// that this simple search finds: it takes every stream whose dictionary says that it is an embedded file, as it is or
// Flate-compressed (ISO 32000-1, 7.11.4), and follows no references. Encrypted files are not opened.
func FacturX(pdf []byte) string {
	pdf = pdf[:min(len(pdf), maxLooked)]
	for at, tried := 0, 0; tried < maxEmbedded; {
		i := bytes.Index(pdf[at:], []byte("stream"))
		if i < 0 {
			return ""
		}
		i += at
		at = i + len("stream")
		dict := dictionary(pdf[:i])
		if dict == nil || !bytes.Contains(dict, []byte("EmbeddedFile")) && !bytes.Contains(dict, []byte("#2Fxml")) {
			continue
		}
		tried++
		data := bytes.TrimPrefix(pdf[at:], []byte("\r"))
		data = bytes.TrimPrefix(data, []byte("\n"))
		if d, err := XML(content(dict, data)); err == nil && d.CII {
			return d.Number
		}
	}
	return ""
}

// dictionary is the one that ends right before a stream; nil when none does.
func dictionary(before []byte) []byte {
	before = bytes.TrimRight(before[max(0, len(before)-maxDict):], "\r\n\t \x00\f")
	if !bytes.HasSuffix(before, []byte(">>")) {
		return nil
	}
	if i := bytes.LastIndex(before, []byte(" obj")); i >= 0 {
		return before[i:]
	}
	return before
}

// content reads a stream up to its end, which a compressed one knows itself.
func content(dict, data []byte) io.Reader {
	if !bytes.Contains(dict, []byte("FlateDecode")) {
		if end := bytes.Index(data, []byte("endstream")); end >= 0 {
			data = data[:end]
		}
		return bytes.NewReader(data[:min(len(data), maxInflated)])
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return bytes.NewReader(nil)
	}
	return io.LimitReader(z, maxInflated)
}
