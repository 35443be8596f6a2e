/** Users who pay: credit is bought at Stripe, and refunds take it back. Run `npm start`, then: node examples/paid/server.mjs */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const { SLUICE_URL: edge = 'http://localhost:8787', SLUICE_ADMIN_TOKEN: admin, PORT = '3001' } = process.env;
const {
  STRIPE_SECRET_KEY: key,
  STRIPE_WEBHOOK_SECRET: secret,
  STRIPE_URL: stripe = 'https://api.stripe.com',
} = process.env;
if (!key || !secret) throw new Error('Set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET.');
const passwords = { carol: 'blue-moon' };
/** The longest body that is read before its signature is checked. Stripe’s events are shorter. */
const MAX_EVENT_BYTES = 1_000_000;

async function ask(method, path, body, more) {
  const headers = { 'content-type': 'application/json', ...(admin && { authorization: `Bearer ${admin}` }), ...more };
  const response = await fetch(edge + path, { method, headers, body: body && JSON.stringify(body) }).catch((cause) => {
    throw new Error(`Sluice does not respond at ${edge}. Start it with npm start, and wait for “Ready”.`, { cause });
  });
  if (!response.ok) throw new Error(`Sluice rejected ${method} ${path}: ${await response.text()}`);
  return await response.json();
}
// With `usd_total: 0`, users can spend only their credit. An account that already has this limit keeps its limits.
try {
  for (const user in passwords) {
    const { own_limits: limits } = await ask('GET', `/accounts/${user}?if_absent=empty`);
    if (limits?.usd_total === undefined) await ask('PATCH', `/accounts/${user}/limits`, { usd_total: 0 });
  }
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

/** Opens a page at Stripe where a user pays five dollars. @returns its address */
async function checkout(user, origin) {
  const body = new URLSearchParams({
    mode: 'payment',
    success_url: origin,
    'line_items[0][quantity]': '1',
    'line_items[0][price_data][currency]': 'usd',
    'line_items[0][price_data][unit_amount]': '500',
    'line_items[0][price_data][product_data][name]': 'Credit',
    // Stripe copies it to the charge, so that a refund names it, too.
    'metadata[account]': user,
    'payment_intent_data[metadata][account]': user,
  });
  const headers = { authorization: `Bearer ${key}` };
  const response = await fetch(`${stripe}/v1/checkout/sessions`, { method: 'POST', headers, body });
  if (!response.ok) throw new Error(`Stripe rejected the checkout: ${await response.text()}`);
  return (await response.json()).url;
}

/** Reads a body, but no more than an event of Stripe needs: anyone can send one. @returns undefined if it is longer */
async function readEventBody(request) {
  const chunks = [];
  let size = 0;
  // Leaving the loop must not close the connection, on which the response is sent.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > MAX_EVENT_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Whether Stripe has signed a body in the last five minutes. */
function isSigned(body, header = '') {
  const parts = header.split(',').map((part) => part.split('='));
  const time = parts.find(([name]) => name === 't')?.[1];
  if (!(Math.abs(Date.now() / 1_000 - Number(time)) < 300)) return false;
  const right = createHmac('sha256', secret).update(`${time}.`).update(body).digest();
  const given = parts.filter(([name]) => name === 'v1').map(([, hex = '']) => Buffer.from(hex, 'hex'));
  return given.some((one) => one.length === right.length && timingSafeEqual(one, right));
}

/** @returns by how many cents an event of Stripe changes a user's credit; undefined if by none */
function centsOf({ type, data: { object, previous_attributes: before } }) {
  const isPaid = type === 'checkout.session.completed' && object.payment_status === 'paid';
  if (isPaid || type === 'checkout.session.async_payment_succeeded') return object.amount_total;
  // A charge can be refunded in parts: it has their sum, and the event the sum before.
  if (type === 'charge.refunded') return (before?.amount_refunded ?? 0) - object.amount_refunded;
}

createServer(async (request, response) => {
  const { url, method, headers } = request;
  try {
    if (url === '/stripe' && method === 'POST') {
      const body = await readEventBody(request);
      if (body === undefined) return response.writeHead(413, { connection: 'close' }).end('This body is too long.');
      if (!isSigned(body, headers['stripe-signature'])) return response.writeHead(400).end('This is not signed.');
      const event = JSON.parse(body.toString());
      const [cents, user] = [centsOf(event), event.data.object.metadata?.account];
      // Stripe repeats an event until it is answered. By its id it counts once.
      if (cents && user in passwords)
        await ask(
          'POST',
          `/accounts/${user}/credit`,
          { usd: cents / 100, note: event.type },
          { 'idempotency-key': event.id },
        );
      return response.end();
    }
    const login = Buffer.from(headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString();
    const [name, password = ''] = login.split(':');
    if (passwords[name] !== password)
      return response.writeHead(401, { 'www-authenticate': 'Basic' }).end('Log in first.');
    if (url === '/buy' && method === 'POST')
      return response.writeHead(303, { location: await checkout(name, `http://${headers.host}`) }).end();
    const { total } = await ask('GET', `/accounts/${name}`);
    const left = Math.max(0, total.limit_usd - total.settled_usd);
    response.setHeader('content-type', 'text/html');
    response.end(
      `<p>You have $${left.toFixed(2)} left.</p><form method="post" action="/buy"><button>Buy $5</button></form>`,
    );
  } catch (error) {
    // Stripe sends the event again.
    console.error(error);
    response.writeHead(500).end('That did not work. Try again in a minute.');
  }
}).listen(Number(PORT), 'localhost', () => console.log(`Open http://localhost:${PORT}`));
