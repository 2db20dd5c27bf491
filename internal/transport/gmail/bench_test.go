package gmail_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/gmail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

func withFile(t testing.TB, size int) *mail.Rendered {
	data := make(blob, size)
	random := rand.NewChaCha8([32]byte{})
	random.Read(data) //nolint:errcheck // it gives no error
	c := content("<1@facteur.example>")
	c.Attachments = []mail.Attachment{data.attachment()}
	return render(t, c, data, "compta@zoe.example")
}

// BenchmarkSend sends invoices with a PDF of 100 KB over 20 sessions to a Google in the same process.
func BenchmarkSend(b *testing.B) {
	for name, delay := range map[string]time.Duration{"at once": 0, "50ms": 50 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			g := tt.StartGoogle(b, tt.GoogleConfig{DiscardData: true, Delay: delay})
			tr := newTransport(b, g, &tokens{google: g, scopes: sendScopes})
			m := withFile(b, 100<<10)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					s, err := tr.Open(b.Context(), profile())
					if err != nil {
						b.Error(err)
						return
					}
					for left.Add(-1) >= 0 {
						if v := s.Send(b.Context(), m, commit); v.Outcome != mail.OutcomeSent {
							b.Error(v)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}

// sink answers every POST with the same words and looks at nothing, so that what is measured is the driver.
func sink(t testing.TB) *gmail.Transport {
	t.Helper()
	tr, err := gmail.New(gmail.Config{Tokens: fixed("token"), BaseURL: "http://sink.example/", HTTP: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go swallow(server)
			return client, nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

type fixed string

func (f fixed) AccessToken(context.Context, *mail.Profile, string) (string, error) {
	return string(f), nil
}

// swallow reads requests by their Content-Length without allocating.
func swallow(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	n, left := 0, -1
	for {
		got, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		if n += got; left < 0 {
			if left = remaining(buf[:n]); left < 0 {
				continue
			}
		} else {
			left -= got
		}
		n = 0
		if left == 0 {
			left = -1
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n{\"id\":\"18c2\",\n \"threadId\": \"18c2\" }"); err != nil {
				return
			}
		}
	}
}

// remaining is how much of a request is to come after its beginning; -1 when its header is not there yet.
func remaining(b []byte) int {
	const field = "\r\nContent-Length: "
	for i := 0; i+4 <= len(b); i++ {
		if string(b[i:i+4]) != "\r\n\r\n" {
			continue
		}
		length := 0
		for j := 0; j+len(field) < i; j++ {
			if string(b[j:j+len(field)]) == field {
				for k := j + len(field); b[k] >= '0' && b[k] <= '9'; k++ {
					length = 10*length + int(b[k]-'0')
				}
			}
		}
		return length - (len(b) - i - 4)
	}
	return -1
}

func sendOne(t testing.TB, s transport.Session, m *mail.Rendered) {
	if v := s.Send(context.Background(), m, commit); v.Outcome != mail.OutcomeSent {
		t.Fatal(v)
	}
}

// BenchmarkDriver is the driver's own work on one mail.
func BenchmarkDriver(b *testing.B) {
	for name, size := range map[string]int{"text": 0, "100KB": 100 << 10, "1MB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			s, err := sink(b).Open(b.Context(), profile())
			if err != nil {
				b.Fatal(err)
			}
			m := withFile(b, size)
			b.SetBytes(m.Size())
			b.ReportAllocs()
			for b.Loop() {
				sendOne(b, s, m)
			}
		})
	}
}

// Memory does not grow with the mail: the chunk buffer of Google's client, 16 MiB a mail, is what this is about.
func TestMemoryIsFlat(t *testing.T) {
	s, err := sink(t).Open(t.Context(), profile())
	if err != nil {
		t.Fatal(err)
	}
	perMail := func(size int) uint64 {
		m := withFile(t, size)
		sendOne(t, s, m) // connects
		var before, after runtime.MemStats
		const mails = 20
		runtime.ReadMemStats(&before)
		for range mails {
			sendOne(t, s, m)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / mails
	}
	small, large := perMail(10<<10), perMail(1<<20)
	if large > small+64<<10 || large > 160<<10 {
		t.Errorf("a mail with 10 KB allocates %d bytes, one with 1 MB %d", small, large)
	}
}
