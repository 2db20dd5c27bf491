package demo

// text is a template's translation as a person would type it: the bare upper-case words are replaced in each mail.
type text struct{ Subject, Text, HTML string }

// invoiceTexts go with every invoice of the batch. They are HTML only: Facteur makes the plain text itself.
// MONTANT and ECHEANCE are the firm's own tokens; the others are built in.
var invoiceTexts = map[string]text{
	"fr": {
		Subject: "Votre facture NUMFACT",
		HTML: `<p>Madame, Monsieur,</p>
<p>Vous trouverez en annexe notre <b>TYPEDOC NUMFACT</b> du DATEFACT, en PDF et en XML (UBL).</p>
<table><tr><td>Client</td><td>NOMCLIENT</td></tr><tr><td>Montant</td><td>MONTANT</td></tr><tr><td>Échéance</td><td>ECHEANCE</td></tr></table>
<p>Merci de votre confiance.</p>`,
	},
	"nl": {
		Subject: "Uw factuur NUMFACT",
		HTML: `<p>Geachte mevrouw, mijnheer,</p>
<p>In bijlage vindt u onze <b>TYPEDOC NUMFACT</b> van DATEFACT, als pdf en als XML (UBL).</p>
<table><tr><td>Klant</td><td>NOMCLIENT</td></tr><tr><td>Bedrag</td><td>MONTANT</td></tr><tr><td>Vervaldag</td><td>ECHEANCE</td></tr></table>
<p>Dank u voor uw vertrouwen.</p>`,
	},
	"en": {
		Subject: "Your invoice NUMFACT",
		HTML: `<p>Dear Sir or Madam,</p>
<p>Please find attached our <b>TYPEDOC NUMFACT</b> of DATEFACT, as PDF and as XML (UBL).</p>
<table><tr><td>Client</td><td>NOMCLIENT</td></tr><tr><td>Amount</td><td>MONTANT</td></tr><tr><td>Due</td><td>ECHEANCE</td></tr></table>
<p>Thank you for your trust.</p>`,
	},
	"de": {
		Subject: "Ihre Rechnung NUMFACT",
		HTML: `<p>Sehr geehrte Damen und Herren,</p>
<p>anbei erhalten Sie unsere <b>TYPEDOC NUMFACT</b> vom DATEFACT als PDF und als XML (UBL).</p>
<table><tr><td>Kunde</td><td>NOMCLIENT</td></tr><tr><td>Betrag</td><td>MONTANT</td></tr><tr><td>Fällig am</td><td>ECHEANCE</td></tr></table>
<p>Vielen Dank für Ihr Vertrauen.</p>`,
	},
}

// letterTexts are for the one-off mail of a collaborator.
var letterTexts = map[string]text{
	"fr": {
		Subject: "Notre rendez-vous, NOMCLIENT",
		Text:    "Bonjour,\n\nJe vous confirme notre rendez-vous du DATEFACT. Pouvez-vous apporter vos extraits de compte ?\n\nBien à vous,",
	},
	"nl": {
		Subject: "Onze afspraak, NOMCLIENT",
		Text:    "Dag,\n\nIk bevestig onze afspraak van DATEFACT. Kunt u uw rekeninguittreksels meebrengen?\n\nMet vriendelijke groeten,",
	},
	"en": {
		Subject: "Our appointment, NOMCLIENT",
		Text:    "Hello,\n\nThis is to confirm our appointment of DATEFACT. Could you bring your bank statements?\n\nKind regards,",
	},
	"de": {
		Subject: "Unser Termin, NOMCLIENT",
		Text:    "Guten Tag,\n\nhiermit bestätige ich unseren Termin vom DATEFACT. Könnten Sie Ihre Kontoauszüge mitbringen?\n\nMit freundlichen Grüßen",
	},
}

// signatures of the billing company, by language.
var signatures = map[string]string{
	"fr": "Le service facturation\n" + sellerCard,
	"nl": "De facturatiedienst\n" + sellerCard,
	"en": "The billing department\n" + sellerCard,
	"de": "Die Rechnungsabteilung\n" + sellerCard,
}

const sellerCard = "Fiduciaire Dupont & Fils SRL, Rue de la Station 12, 1300 Wavre"
