// Copies the page's address. A page that came without TLS has no clipboard of the newer kind.

const SHOWN_MS = 2500;

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = element("textarea");
  field.value = text;
  field.style.position = "fixed";
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new Error("refused");
}

export default function (component) {
  const { parentElement } = component;
  const button = parentElement.querySelector("button");
  const said = parentElement.querySelector(".copied");
  let timer = 0;
  button.onclick = async () => {
    const address = window.location.href;
    try {
      await copy(address);
      said.textContent = "Copied";
    } catch {
      said.textContent = `Not allowed to copy: ${address}`;
    }
    button.focus();
    clearTimeout(timer);
    timer = setTimeout(() => (said.textContent = ""), SHOWN_MS);
  };
  return () => clearTimeout(timer);
}
