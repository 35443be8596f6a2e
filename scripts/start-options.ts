/** Reads the arguments of `npm start`: most are passed to `wrangler dev`, some are its own, some are refused. */
import { parseArgs } from 'node:util';
import { isLoopback } from '../src/edge/kit/http/headers/hosts.ts';

export interface StartOptions {
  port: number;
  /** The addresses to listen on. */
  addresses: string[];
  /** Whether other machines may call. */
  isOpen: boolean;
  tls: { key: string; cert: string } | undefined;
  /** The variables that `--var` sets. */
  variables: Record<string, string>;
  /** The files that `--env-file` names. */
  envFiles: string[];
  /** The environment, as for wrangler: it decides which `.dev.vars` is read. */
  environment: string | undefined;
  /** Whether an argument says where local state is kept. */
  hasState: boolean;
  /** The arguments for `wrangler dev`. */
  passedOn: string[];
}

export const START_USAGE = `npm start [-- options]
  --port 9000             another port than 8787; 0 takes a free one
  --var NAME:value        a setting, as in .dev.vars; several may follow
  --env-file FILE         a file with settings
  --persist-to DIR        where local state is kept
  --ip ADDRESS            another address than localhost; beyond this machine only with --open-to-the-network
  --local-protocol https  with --https-key-path FILE and --https-cert-path FILE
  --inspector-port N      opens the inspector of the runtime
Any other option goes to \`wrangler dev\`, except those that would let others in.`;

const DEFAULT_PORT = 8787;
const OPEN = 'open-to-the-network';
/** The addresses of `localhost`. Both are needed: some programs try only one. */
const LOCALHOST = ['127.0.0.1', '::1'];

/** Options that this script handles itself. Wrangler gets other values for them. */
const OWN = new Set(['port', 'ip', OPEN, 'env-file', 'local-protocol', 'https-key-path', 'https-cert-path']);

/** Options that take all arguments up to the next option. */
const LISTS = new Set(['var', 'env-file']);

/** Why an option is refused: it would open the edge to other machines, or give it another name. */
const REFUSED: Readonly<Record<string, string>> = {
  remote: 'runs on the internet what asks for no credential. Deploy it instead: npm run deploy -- --env staging',
  tunnel: 'lets the internet in where no credential is asked for. Deploy it instead: npm run deploy -- --env staging',
  'tunnel-name': 'goes with --tunnel, which is refused: it lets the internet in where no credential is asked for.',
  host: 'calls the edge by another name: in development it is localhost.',
  'local-upstream': 'calls the edge by another name: in development it is localhost.',
  'upstream-protocol': 'goes with --host, which is refused: in development the edge is called localhost.',
  'show-interactive-dev-session': 'has keys that open what this script keeps closed.',
};

/**
 * Reads the arguments as yargs does, which wrangler uses: also in camel case, and with `no-`.
 *
 * @throws Error for a refused option; its message says what to do instead
 */
export function readStartOptions(args: readonly string[]): StartOptions {
  // For wrangler an argument after another option is not that option's value, so each argument is checked by itself.
  for (const arg of args) {
    const name = kebab(/^--?([\w-]+)/.exec(arg)?.[1] ?? '');
    const why = arg === '--' ? 'would end the options that this script adds. Leave it out.' : REFUSED[name];
    if (why !== undefined) throw new Error(`${arg.split('=')[0]} ${why}`);
  }
  const own = { type: 'string', multiple: true } as const;
  const flag = { type: 'boolean' } as const;
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: {
      ...{ port: own, ip: own, 'env-file': own, envFile: own, var: own, env: { ...own, short: 'e' } },
      ...{ 'local-protocol': own, localProtocol: own, 'https-key-path': own, httpsKeyPath: own },
      ...{ 'https-cert-path': own, httpsCertPath: own, 'inspector-ip': own, inspectorIp: own },
      ...{
        [OPEN]: flag,
        remote: { ...flag, short: 'r' },
        local: { ...flag, short: 'l' },
        config: { ...own, short: 'c' },
      },
    },
  });
  const given = new Map<string, string[]>();
  const taken = new Set<number>();
  /** The option whose list of values continues. */
  let list: string | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional' && list !== undefined) {
      given.get(list)?.push(token.value);
      if (OWN.has(list)) taken.add(token.index);
    }
    if (token.kind !== 'option') continue;
    const name = kebab(token.name);
    const why = REFUSED[name];
    if (why !== undefined) throw new Error(`${token.rawName} ${why}`);
    given.set(name, [...(given.get(name) ?? []), token.value ?? '']);
    list = LISTS.has(name) ? name : undefined;
    if (!OWN.has(name)) continue;
    taken.add(token.index);
    if (token.value !== undefined && !token.inlineValue) taken.add(token.index + 1);
  }
  const last = (name: string) => given.get(name)?.at(-1);
  const isOpen = given.has(OPEN);
  const inspectorIp = last('inspector-ip');
  if (inspectorIp !== undefined && !isLocal(inspectorIp)) {
    throw new Error(`--inspector-ip ${inspectorIp} lets others run code in the edge. Leave it out.`);
  }
  const passedOn = args.filter((_, at) => !taken.has(at));
  return {
    port: portOf(last('port')),
    addresses: addressesOf(last('ip'), isOpen),
    isOpen,
    tls: tlsOf(last('local-protocol'), last('https-key-path'), last('https-cert-path')),
    variables: Object.fromEntries((given.get('var') ?? []).map(pairOf)),
    envFiles: given.get('env-file') ?? [],
    environment: last('env'),
    hasState: given.has('persist-to'),
    passedOn,
  };
}

function portOf(text: string | undefined): number {
  const port = text === undefined ? DEFAULT_PORT : Number(text === '' ? Number.NaN : text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error('A port is a number: --port 9000');
  return port;
}

function addressesOf(ip: string | undefined, isOpen: boolean): string[] {
  if (ip === undefined || ip === 'localhost') return [...LOCALHOST];
  if (isLocal(ip)) return [ip];
  if (!isOpen) {
    throw new Error(
      `--ip ${ip} lets everybody on the network read every conversation and spend your key: in development no credential ` +
        `is asked for. If you mean that, say so: --ip ${ip} --${OPEN}`,
    );
  }
  return ip === '::' ? ['0.0.0.0', '::'] : [ip];
}

function isLocal(ip: string): boolean {
  return isLoopback(`http://${ip.includes(':') ? `[${ip}]` : ip}`);
}

function tlsOf(protocol: string | undefined, key: string | undefined, cert: string | undefined): StartOptions['tls'] {
  if (protocol !== undefined && protocol !== 'http' && protocol !== 'https') {
    throw new Error('A protocol is http or https: --local-protocol https');
  }
  if (protocol !== 'https') return undefined;
  if (!key || !cert)
    throw new Error('For https, name a key and its certificate: --https-key-path … --https-cert-path …');
  return { key, cert };
}

function pairOf(text: string): [string, string] {
  const [name = '', ...value] = text.split(':');
  return [name, value.join(':')];
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
