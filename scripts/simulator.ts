/**
 * Starts the simulator of the Claude API without Sluice: `npm run simulator -- [--port 4010]`, which is `sluice simulator` with the
 * package. Any client can use it as its base URL.
 */
import { readArguments } from './arguments.ts';
import { onParentExit } from './parent.ts';
import { startSimulatorServer } from './simulator-server.ts';

const USAGE =
  'npm run simulator -- [--port 4010] [--ttft-ms 300] [--tokens-per-second 40] [--batch-ms 2000] [--seed text]; with the package: sluice simulator …';

const { values } = readArguments(USAGE, {
  options: {
    port: { type: 'string', default: '4010' },
    'ttft-ms': { type: 'string', default: '0' },
    'tokens-per-second': { type: 'string', default: '0' },
    'batch-ms': { type: 'string', default: '0' },
    seed: { type: 'string', default: '' },
  },
});

onParentExit(() => process.exit());
try {
  const { url } = await startSimulatorServer(readNumber('port', 65_535), {
    ttftMs: readNumber('ttft-ms'),
    tokensPerSecond: readNumber('tokens-per-second'),
    batchMs: readNumber('batch-ms'),
    seed: values.seed,
  });
  console.log(`
The simulator of the Claude API listens on ${url}. It accepts any key.

Try:
  curl ${url}/v1/messages -H 'x-api-key: any' -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\
    -d '{"model":"claude-haiku-5-5","max_tokens":2048,"messages":[{"role":"user","content":"Hello"}]}'

Or point any Claude client at it: ANTHROPIC_BASE_URL=${url} ANTHROPIC_API_KEY=any
Stop with Ctrl+C. This deletes its batches and files.
`);
} catch (thrown) {
  const isUsed = thrown instanceof Error && 'code' in thrown && thrown.code === 'EADDRINUSE';
  const problem = thrown instanceof Error ? thrown.message : String(thrown);
  console.error(isUsed ? `Port ${values.port} is in use. Choose another one with --port.` : problem);
  process.exit(1);
}

function readNumber(name: 'port' | 'ttft-ms' | 'tokens-per-second' | 'batch-ms', maximum = Number.MAX_SAFE_INTEGER) {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= 0 && value <= maximum && values[name].trim() !== '') return value;
  throw new Error(`--${name}: "${values[name]}" is not a whole number from 0 to ${maximum}.\nUsage: ${USAGE}`);
}
