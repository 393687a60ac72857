package web

import (
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// shapes tell the severities apart without color.
var shapes = map[unseal.Severity]literal{
	unseal.SeverityGood: `<circle cx="12" cy="12" r="11" fill="currentColor"/><path d="M7 12.5l3.5 3.5L17 9" class="in"/>`,
	unseal.SeverityBusy: `<circle cx="12" cy="12" r="10" class="out"/><path d="M12 6.5V12l3.5 2.5" class="out"/>`,
	unseal.SeverityHold: `<rect x="1.5" y="1.5" width="21" height="21" rx="4" fill="currentColor"/><path d="M9 7.5v9M15 7.5v9" class="in"/>`,
	status.SeverityWarn: `<path d="M12 1.5L23.5 22H.5z" fill="currentColor"/><path d="M12 9v6M12 18.2v.4" class="in"/>`,
	unseal.SeverityAct:  `<path d="M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z" fill="currentColor"/><path d="M12 6.5v7M12 17v.5" class="in"/>`,
}

// icons are the same for the browser's tab.
var icons = map[unseal.Severity]string{
	unseal.SeverityGood: icon + `fill='%231a7f37'%3E%3Ccircle cx='8' cy='8' r='8'/%3E%3C/svg%3E`,
	unseal.SeverityBusy: icon + `fill='none' stroke='%230969da' stroke-width='3'%3E%3Ccircle cx='8' cy='8' r='6'/%3E%3C/svg%3E`,
	unseal.SeverityHold: icon + `fill='%238250df'%3E%3Crect width='16' height='16' rx='3'/%3E%3C/svg%3E`,
	status.SeverityWarn: icon + `fill='%23bf8700'%3E%3Cpath d='M8 0l8 16H0z'/%3E%3C/svg%3E`,
	unseal.SeverityAct:  icon + `fill='%23cf222e'%3E%3Cpath d='M5 0h6l5 5v6l-5 5H5l-5-5V5z'/%3E%3C/svg%3E`,
}

const icon = `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' `
