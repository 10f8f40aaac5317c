(async () => {
const get = id => document.getElementById(id);
const bytes = Uint8Array.from(atob(get("packed").textContent), one => one.charCodeAt(0));
const script = document.createElement("script");
script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
document.head.append(script);
get("still").hidden = true;
const options = {fit: "both", preload: true, controls: true};
AsciinemaPlayer.create({data: JSON.parse(get("cast").textContent)}, get("player"), options);
// which hears keys where it has the focus only
get("player").querySelector("[tabindex]").focus();
})();
