// Preferences of this browser: kept here, never sent anywhere.
(function () {
  "use strict";
  var KEY = "fernwell.units";
  var digits = new Intl.NumberFormat("en", {minimumFractionDigits: 0, maximumFractionDigits: 1});

  function show(units) {
    document.querySelectorAll("[data-celsius]").forEach(function (element) {
      var celsius = Number(element.dataset.celsius);
      element.textContent = units === "fahrenheit" ? digits.format(celsius * 9 / 5 + 32) : element.dataset.celsius;
    });
    document.querySelectorAll("[data-unit]").forEach(function (element) {
      element.textContent = units === "fahrenheit" ? " °F" : " °C";
    });
  }

  function kept() {
    try { return localStorage.getItem(KEY) || "celsius"; } catch (refused) { return "celsius"; }
  }

  var now = kept();
  show(now);
  document.querySelectorAll("input[name=units]").forEach(function (input) {
    input.checked = input.value === now;
    input.addEventListener("change", function () {
      try { localStorage.setItem(KEY, input.value); } catch (refused) { /* shown for this page only */ }
      show(input.value);
    });
  });
})();
