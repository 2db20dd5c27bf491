package mail

import (
	"encoding/base64"
	"encoding/binary"
)

const (
	lineBytes = 57 // of a file in one line of base64
	lineWidth = 78 // that line: 76 columns and CRLF (RFC 2045 section 6.8)
)

// base64Size is the size of n bytes as appendBase64 writes them.
func base64Size(n int64) int64 {
	return (n+2)/3*4 + (n+lineBytes-1)/lineBytes*2
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// base64Pairs has the two characters of every twelve bits, the first in the low byte. Two characters per look-up make this
// faster than the standard library, which has one.
var base64Pairs = func() (t [1 << 12]uint16) {
	for i := range t {
		t[i] = uint16(base64Alphabet[i>>6]) | uint16(base64Alphabet[i&63])<<8
	}
	return t
}()

// appendBase64 appends src in lines of 76 columns, each ended by CRLF. To go on with another block, src must be a multiple of
// 57 bytes long. dst must have room for base64Size(len(src)) more bytes.
func appendBase64(dst, src []byte) []byte {
	for ; len(src) >= lineBytes; src = src[lineBytes:] {
		n := len(dst)
		dst = dst[:n+lineWidth]
		encodeLine((*[lineWidth]byte)(dst[n:]), (*[lineBytes]byte)(src))
	}
	if len(src) > 0 {
		dst = base64.StdEncoding.AppendEncode(dst, src)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func encodeLine(dst *[lineWidth]byte, src *[lineBytes]byte) {
	const mask = 1<<12 - 1
	i, j := 0, 0
	for ; i < lineBytes-3; i, j = i+6, j+8 {
		v := binary.BigEndian.Uint64(src[i:]) >> 16 // two of the eight bytes are read again
		binary.LittleEndian.PutUint64(dst[j:], uint64(base64Pairs[v>>36])|uint64(base64Pairs[v>>24&mask])<<16|
			uint64(base64Pairs[v>>12&mask])<<32|uint64(base64Pairs[v&mask])<<48)
	}
	v := uint32(src[i])<<16 | uint32(src[i+1])<<8 | uint32(src[i+2])
	binary.LittleEndian.PutUint32(dst[j:], uint32(base64Pairs[v>>12])|uint32(base64Pairs[v&mask])<<16)
	dst[lineWidth-2], dst[lineWidth-1] = '\r', '\n'
}
