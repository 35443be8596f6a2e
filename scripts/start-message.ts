/** Describes a development server that starts: the upstream that responds, the credentials that requests need, and an example. */
import { createConfiguredUpstreams } from '../src/edge/claude/providers/entry.ts';
import type { Settings } from '../src/edge/config/settings.ts';

const TOKEN = 'npm run token -- --account dev --scopes admin';
const BODY = `'{"model":"claude-haiku-5-5","max_tokens":2048,"messages":[{"role":"user","content":"Hello, who are you?"}]}'`;

export interface StartedServer {
  url: string;
  settings: Settings;
  /** Whether this machine stores data of an earlier start. */
  hasStoredData: boolean;
  /** The command that deletes all local state. */
  resetCommand: string;
}

export function formatStartMessage({ url, settings, hasStoredData, resetCommand }: StartedServer): string {
  const lines = [describeUpstreams(settings), describeCredentials(settings, hasStoredData)].filter(
    (line) => line !== '',
  );
  const headers = ['content-type: application/json', ...(settings.isOpen ? [] : ['authorization: Bearer TOKEN'])];
  return `
Sluice starts on ${url}
${lines.join('\n')}

Try:
  curl -N ${url}/messages ${headers.map((header) => `-H '${header}'`).join(' ')} \\
    -d ${BODY}

Or point any Claude client at it: ANTHROPIC_BASE_URL=${url}
Stop with Ctrl+C. To delete all local state: ${resetCommand}
`;
}

function describeUpstreams(settings: Settings): string {
  const { UPSTREAM, ANTHROPIC_API_KEY } = settings;
  const upstreams = createConfiguredUpstreams(settings);
  const names = upstreams.map(({ name, isSimulated }) => (isSimulated ? `${name} (simulated)` : name));
  if (names.length > 0)
    return `Responses come from the upstreams in UPSTREAMS, tried in this order: ${names.join(', ')}.`;
  const isSimulated = UPSTREAM === 'simulator' || (UPSTREAM === undefined && ANTHROPIC_API_KEY === undefined);
  return isSimulated
    ? 'Responses come from the built-in simulator. To use Claude, add ANTHROPIC_API_KEY=… to .dev.vars and start again.'
    : 'Responses come from the Claude API.';
}

function describeCredentials({ isOpen, hasKey }: Settings, hasStoredData: boolean): string {
  if (!isOpen) return `CREDENTIALS=required: each request needs a token. To create an admin token: ${TOKEN}`;
  if (hasKey) return `To read stored data with curl or an SDK, send the token that this command prints: ${TOKEN}`;
  return hasStoredData ? 'No key is set, so the data that is stored here can be read without a token.' : '';
}
