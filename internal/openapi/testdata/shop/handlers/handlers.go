package handlers

import "github.com/winprest/facteur/internal/openapi/testdata/shop/wire"

var _ wire.Order

// order
//
//	@Summary	Order something
//	@ID			createOrder
//	@Tags		orders
//	@Param		Idempotency-Key	header		string		false	"-"
//	@Param		order			body		wire.Order	true	"What is wanted."
//	@Success	201				{object}	wire.Receipt
//	@Header		201				{string}	Location	"-"
//	@Failure	409				{object}	wire.Problem	"Sold out."
//	@Failure	422				{object}	wire.Problem
//	@Router		/v1/orders [post]
func order() {}

// list
//
//	@Summary	List orders
//	@ID			listOrders
//	@Tags		orders
//	@Param		limit	query		int	false	"How many."	minimum(1)	maximum(200)	default(50)
//	@Success	200		{object}	wire.List[wire.Receipt]
//	@Router		/v1/orders [get]
func list() {}

// edit
//
//	@Summary	Edit an order
//	@ID			editOrder
//	@Tags		orders
//	@Param		id			path		string		true	"The order."
//	@Param		If-Match	header		string		false	"-"
//	@Param		order		body		wire.OrderPatch	true	"What is wanted now."
//	@Success	200			{object}	wire.Receipt
//	@Header		200			{string}	ETag	"-"
//	@Router		/v1/orders/{id} [patch]
func edit() {}

// photo
//
//	@Summary	Add a photo
//	@ID			addPhoto
//	@Tags		orders
//	@Accept		octet-stream
//	@Param		id		path	string	true	"The order."
//	@Param		photo	body	string	true	"The bytes."
//	@Success	204
//	@Router		/v1/orders/{id}/photo [post]
func photo() {}

// health
//
//	@Summary	Say whether the shop is open
//	@ID			health
//	@Tags		health
//	@Produce	plain
//	@Success	200	{string}	string	"ok"
//	@Failure	503	{string}	string	"closed"
//	@Router		/healthz [get]
func health() {}
