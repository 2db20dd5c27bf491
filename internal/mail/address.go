package mail

// Address is a mailbox: an address and the name shown with it.
type Address struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"` // as typed by the caller, checked by CheckAddress
}
