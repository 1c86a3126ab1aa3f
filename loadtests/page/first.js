// Runs before Locust's own script: the tab "Service" is the one to begin with.
const address = new URL(location.href);
if (!address.searchParams.has("tab")) {
  address.searchParams.set("tab", "seen");
  history.replaceState(null, "", address);
}
