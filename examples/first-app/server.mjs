/** Two users, each with a budget for a day, and a page that chats. Run `npm start`, then: node examples/first-app/server.mjs */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const { SLUICE_URL: edge = 'http://localhost:8787', SLUICE_ADMIN_TOKEN: admin, PORT = '3000' } = process.env;
const passwords = { alice: 'white-rabbit', bob: 'yes-we-can' };
const budgets = { alice: 1, bob: 0.0028 };
async function ask(method, path, body) {
  const headers = { 'content-type': 'application/json', ...(admin && { authorization: `Bearer ${admin}` }) };
  const response = await fetch(edge + path, { method, headers, body: JSON.stringify(body) }).catch((cause) => {
    throw new Error(`Sluice does not respond at ${edge}. Start it with npm start, and wait for “Ready”.`, { cause });
  });
  if (!response.ok) throw new Error(`Sluice rejected ${method} ${path}: ${await response.text()}`);
  return await response.json();
}
try {
  await ask('PUT', '/agents/chat', { model: 'claude-haiku-5-5', max_tokens: 2048, system: 'Answer in one sentence.' });
  for (const user in budgets) await ask('PUT', `/accounts/${user}/limits`, { usd_per_day: budgets[user] });
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const page = (await readFile(new URL('index.html', import.meta.url), 'utf8')).replace('https://edge.example.com', edge);
const client = fileURLToPath(new URL('../../src/client/index.ts', import.meta.url));
const built = await build({ entryPoints: [client], bundle: true, format: 'esm', write: false });

createServer(async ({ url, headers }, response) => {
  // The simplest login. Before you let other machines reach the page, replace it with your own, and use https.
  const login = Buffer.from(headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString();
  const [name, password = ''] = login.split(':');
  if (passwords[name] !== password)
    return response.writeHead(401, { 'www-authenticate': 'Basic' }).end('Log in first.');
  if (url === '/') return response.setHeader('content-type', 'text/html').end(page);
  if (url === '/sluice.js') return response.setHeader('content-type', 'text/javascript').end(built.outputFiles[0].text);
  const asked = { account: name, scopes: ['messages'], expires_in: 900, only: { agents: ['chat'] } };
  const minted = url === '/token' ? await ask('POST', '/tokens', asked).catch(console.error) : undefined;
  response.writeHead(minted ? 200 : 404).end(minted?.token);
}).listen(Number(PORT), 'localhost', () => console.log(`Open http://localhost:${PORT}`));
