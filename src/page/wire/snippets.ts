/** Writes a recorded call as code: curl, the SDK, and this client. */
import { parse } from '../../client/errors.ts';
import type { Recording } from '../edge/recording.ts';
import { indent } from './shorten.ts';

export interface Snippet {
  name: string;
  language: string;
  code: string;
}

type Fields = Record<string, unknown>;

/** Headers that belong to the call. Others are only of this page. */
const SHOWN_HEADERS = ['sluice-simulate', 'last-event-id'];

/**
 * @param origin the URL of the edge
 * @param withToken whether the call needs a credential, which stands there as a variable and never as its value
 */
export function snippetsOf(recording: Recording, origin: string, withToken: boolean): Snippet[] {
  return [
    curl(recording, origin, withToken),
    sdk(recording, origin, withToken),
    clientSnippet(recording, origin, withToken),
  ];
}

function curl({ method, path, headers, body }: Recording, origin: string, withToken: boolean): Snippet {
  const lines = [`curl -N ${quote(origin + path)}`];
  if (method !== 'GET' && (method !== 'POST' || body === undefined)) lines.push(`-X ${method}`);
  if (withToken) lines.push('-H "authorization: Bearer $SLUICE_TOKEN"');
  if (body !== undefined) lines.push("-H 'content-type: application/json'");
  for (const name of SHOWN_HEADERS)
    if (headers[name] !== undefined) lines.push(`-H ${quote(`${name}: ${headers[name]}`)}`);
  if (body !== undefined) lines.push(`-d ${quote(indent(body))}`);
  return { name: 'curl', language: 'bash', code: lines.join(' \\\n  ') };
}

function sdk({ method, path, body }: Recording, origin: string, withToken: boolean): Snippet {
  const key = withToken ? 'process.env.SLUICE_TOKEN' : "'none needed in development'";
  const head = `import Anthropic from '@anthropic-ai/sdk';\n\nconst anthropic = new Anthropic({ baseURL: ${textField(origin)}, apiKey: ${key} });\n`;
  const fields = parse<Fields>(body ?? '');
  if (path !== '/messages' || !fields) {
    const options = fields ? `, { body: ${literal(fields)} }` : '';
    const call = `anthropic.${method.toLowerCase()}(${textField(path)}${options})`;
    return { name: 'Anthropic SDK', language: 'typescript', code: `${head}const answer = await ${call};` };
  }
  const { conversation, prefix, ...params } = fields;
  // The SDK's types do not have the two extension fields, so they become headers.
  const headers = {
    ...(conversation === undefined ? {} : { 'sluice-conversation': conversation }),
    ...(prefix === undefined ? {} : { 'sluice-prefix': prefix }),
  };
  const options = Object.keys(headers).length > 0 ? `, { headers: ${literal(headers)} }` : '';
  const code = `${head}const stream = anthropic.messages.stream(${literal(params)}${options});\nfor await (const event of stream) console.log(event);`;
  return { name: 'Anthropic SDK', language: 'typescript', code };
}

function clientSnippet({ method, path, body }: Recording, origin: string, withToken: boolean): Snippet {
  const token = withToken ? ', token: () => process.env.SLUICE_TOKEN' : '';
  const head = `import { createClient } from 'sluice/client';\n\nconst sluice = createClient({ baseURL: ${textField(origin)}${token} });\n`;
  const snippet = (code: string) => ({ name: 'Sluice client', language: 'typescript', code: head + code });
  const fields = parse<Fields>(body ?? '');
  const [, room = '', name = ''] = path.split('?')[0]?.split('/').map(decodeURIComponent) ?? [];
  if (room === 'messages' && fields) {
    return snippet(
      `const stream = sluice.messages.stream(${literal(fields)});\nfor await (const text of stream.textDeltas()) process.stdout.write(text);`,
    );
  }
  if (room === 'conversations') {
    return snippet(
      `const stream = await sluice.conversations.resume(${textField(name)});\nfor await (const event of stream ?? []) console.log(event);`,
    );
  }
  if (room === 'classify' && fields) return snippet(`const answer = await sluice.classify(${literal(fields)});`);
  if ((room === 'prefixes' || room === 'classifiers') && fields) {
    return snippet(`const answer = await sluice.${room}.put(${textField(name)}, ${literal(fields)});`);
  }
  const options = [`method: ${textField(method)}`, ...(fields ? [`body: ${literal(fields)}`] : [])].join(', ');
  return snippet(`const response = await sluice.fetch(${textField(path)}, { ${options} });`);
}

/** Quotes text for a POSIX shell. */
function quote(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`;
}

function textField(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Writes JSON as a JavaScript literal: names without quotes where possible. */
function literal(value: unknown): string {
  return JSON.stringify(value, undefined, 2).replace(/^(\s*)"([A-Za-z_]\w*)":/gm, '$1$2:');
}
