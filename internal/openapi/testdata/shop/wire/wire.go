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

// Page is one page of a list.
type Page[T any] struct {
	Items []T `json:"items"`
}

// Problem is a refusal.
type Problem struct {
	Code string `json:"code"`
}
