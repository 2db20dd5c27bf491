package smtp_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// BenchmarkSend sends small mails over 20 kept connections to a sink in the same process.
func BenchmarkSend(b *testing.B) {
	for name, cfg := range map[string]tt.SMTPConfig{
		"loopback": {DiscardData: true},
		"20ms":     {DiscardData: true, Latency: 10 * time.Millisecond},
	} {
		b.Run(name, func(b *testing.B) {
			s := tt.StartSMTP(b, cfg)
			p := profile(s)
			p.SMTP.Port = s.Port()
			tr := newTransport()
			m := tt.Message(b, p, "a@zoe.example")
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					session, err := tr.Open(b.Context(), p)
					if err != nil {
						b.Error(err)
						return
					}
					for left.Add(-1) >= 0 {
						if v := session.Send(b.Context(), m, commit); v.Outcome != mail.OutcomeSent {
							b.Error(v)
							return
						}
					}
					session.Close()
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}

// BenchmarkBareLoop is the least that sending takes: the same bytes and waits, nothing looked at.
func BenchmarkBareLoop(b *testing.B) {
	s := tt.StartSMTP(b, tt.SMTPConfig{DiscardData: true})
	var body strings.Builder
	tt.Message(b, profile(s), "a@zoe.example").WriteTo(&body) //nolint:errcheck // a builder
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			nc, err := net.Dial("tcp", s.Addr())
			if err != nil {
				b.Error(err)
				return
			}
			defer nc.Close()
			br := bufio.NewReader(nc)
			talk := func(out string, replies int) {
				io.WriteString(nc, out) //nolint:errcheck // the reads tell
				for range replies {
					if _, err := br.ReadSlice('\n'); err != nil {
						b.Error(err)
						return
					}
				}
			}
			talk("HELO x\r\n", 2)
			for left.Add(-1) >= 0 {
				talk("MAIL FROM:<"+user+">\r\nRCPT TO:<a@zoe.example>\r\nDATA\r\n", 3)
				talk(body.String()+".\r\n", 1)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
}
