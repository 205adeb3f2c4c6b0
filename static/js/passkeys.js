// A form with data-passkey asks the browser for a passkey, and is sent with what it answers.
const problems = {
  NotAllowedError: 'cancelled', // or timed out: the browser doesn't tell which
  AbortError: 'cancelled',
  InvalidStateError: 'known',
  SecurityError: 'address',
  NotSupportedError: 'unsupported',
};

const bytes = (text) => Uint8Array.from(
  atob(text.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0),
);
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const named = (list = []) => list.map((known) => ({ ...known, id: bytes(known.id) }));

async function create(form, { publicKey }) {
  const alone = form.elements.passwordless?.checked;
  const choice = { ...publicKey.authenticatorSelection };
  choice.residentKey = alone ? 'required' : 'discouraged';
  choice.requireResidentKey = alone;
  if (alone) choice.userVerification = 'required';
  return navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      user: { ...publicKey.user, id: bytes(publicKey.user.id) },
      excludeCredentials: named(publicKey.excludeCredentials),
      authenticatorSelection: choice,
    },
  });
}

async function get({ publicKey }) {
  return navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      allowCredentials: named(publicKey.allowCredentials),
    },
  });
}

function answer(credential) {
  const { id, rawId, type, response } = credential;
  const parts = ['clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle'];
  return JSON.stringify({
    id,
    rawId: text(rawId),
    type,
    response: Object.fromEntries(
      parts.filter((part) => response[part]).map((part) => [part, text(response[part])]),
    ),
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}

async function options(form) {
  if (!form.dataset.optionsFrom) {
    return JSON.parse(document.getElementById(form.dataset.options).textContent);
  }
  // Asked for when they are needed: their challenge is good for one try.
  const response = await fetch(form.dataset.optionsFrom, { headers: { Accept: 'application/json' } });
  if (!response.ok) throw new Error(response.status);
  return response.json();
}

function show(form, problem) {
  for (const line of form.querySelectorAll('[data-problem]')) {
    line.hidden = line.dataset.problem !== problem;
  }
}

for (const form of document.querySelectorAll('form[data-passkey]')) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (button?.getAttribute('aria-busy') === 'true') return;
    show(form, window.PublicKeyCredential ? '' : 'unsupported');
    if (!window.PublicKeyCredential) return;
    button?.setAttribute('aria-busy', 'true');
    try {
      const asked = await options(form);
      const credential = form.dataset.passkey === 'create'
        ? await create(form, asked.creation_options)
        : await get(asked.request_options);
      form.elements.credential.value = answer(credential);
      form.submit();
    } catch (error) {
      button?.removeAttribute('aria-busy');
      show(form, problems[error.name] ?? 'failed');
    }
  });
}
