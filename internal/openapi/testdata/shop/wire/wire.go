// Package wire has one of everything that the generator has to translate.
package wire

import (
	"encoding/json"
	"time"
)

// Order is what a client asks for.
type Order struct {
	// Customer's own number.
	Number string `json:"number" maxLength:"20" example:"1e3"`
	// Lines that are wanted, at least one.
	Lines []Line            `json:"lines" minItems:"1"`
	Ship  *Address          `json:"ship,omitempty"` // Where to; the customer's own address when it is left out.
	Extra map[string]string `json:"extra,omitempty"`
}

// Line is one article of an order.
type Line struct {
	Article string  `json:"article" enums:"bolt,nut"`
	Count   int     `json:"count" minimum:"1" maximum:"99"`
	Price   float64 `json:"price,omitempty" extensions:"x-nullable"`
}

// Address is a place.
type Address struct {
	Street string `json:"street"`
}

// Receipt answers an order.
type Receipt struct {
	ID      string          `json:"id"`
	At      time.Time       `json:"at"`
	Ship    Address         `json:"ship" extensions:"x-nullable"`
	Payload json.RawMessage `json:"payload,omitempty" swaggertype:"object"`
}

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items"`
	// NextCursor gives the next page.
	NextCursor string `json:"next_cursor,omitempty"`
}

// OrderPatch edits an order.
type OrderPatch struct {
	// Number of the order.
	Number *string            `json:"number,omitempty" validate:"max=20"`
	Lines  *[]Line            `json:"lines,omitempty" validate:"max=5"`
	Ship   *Address           `json:"ship,omitempty"`
	Extra  map[string]*string `json:"extra,omitempty" validate:"max=3"`
	State  *string            `json:"state,omitempty" enums:"open,closed"`
}

// Problem is a refusal.
type Problem struct {
	Code string `json:"code"`
}
