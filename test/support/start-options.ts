/** What `npm start` does with each option of `wrangler dev`. */
export type Fate =
  /** The start script's own: wrangler is told something else in its place. */
  | { fate: 'own'; args: string[] }
  | { fate: 'refused'; args: string[] }
  /** It goes on to wrangler. With `untried` it does something else than start a server. */
  | { fate: 'passed on'; args: string[]; untried?: string };

const own = (...args: string[]): Fate => ({ fate: 'own', args });
const refused = (...args: string[]): Fate => ({ fate: 'refused', args });
const passedOn = (...args: string[]): Fate => ({ fate: 'passed on', args });
const untried = (why: string, ...args: string[]): Fate => ({ fate: 'passed on', args, untried: why });

/** By the name that wrangler's own help has first. A file, a folder and a port stand for themselves. */
export const WRANGLER_OPTIONS: Readonly<Record<string, Fate>> = {
  '--config': passedOn('--config', 'wrangler.toml'),
  '--cwd': passedOn('--cwd', '.'),
  '--env': passedOn('--env', 'staging'),
  '--env-file': own('--env-file', 'FILE'),
  '--help': untried('prints the help', '--help'),
  '--install-skills': untried('asks the network', '--install-skills'),
  '--profile': untried('needs a login', '--profile', 'x'),
  '--version': untried('prints the version', '--version'),
  '--name': passedOn('--name', 'another-name'),
  '--compatibility-date': passedOn('--compatibility-date', '2026-09-25'),
  '--compatibility-flags': passedOn('--compatibility-flags', 'no_nodejs_global_timers'),
  '--latest': passedOn('--latest'),
  '--assets': passedOn('--assets', 'build'),
  '--no-bundle': untried('needs an entry that is built', '--no-bundle'),
  '--ip': own('--ip', '127.0.0.1'),
  '--port': own('--port', '0'),
  '--inspector-port': passedOn('--inspector-port', 'PORT'),
  '--inspector-ip': passedOn('--inspector-ip', '127.0.0.1'),
  '--routes': passedOn('--routes', 'claude.example.com/*'),
  '--host': refused('--host', 'claude.example.com'),
  '--local-protocol': own('--local-protocol', 'http'),
  '--https-key-path': own('--https-key-path', 'FILE'),
  '--https-cert-path': own('--https-cert-path', 'FILE'),
  '--local-upstream': refused('--local-upstream', 'claude.example.com'),
  '--upstream-protocol': refused('--upstream-protocol', 'http'),
  '--var': passedOn('--var', 'SIMULATOR_TTFT_MS:0', 'SIMULATOR_TOKENS_PER_SECOND:0'),
  '--define': passedOn('--define', 'UNUSED:1'),
  '--alias': passedOn('--alias', 'unused:hono'),
  '--jsx-factory': passedOn('--jsx-factory', 'h'),
  '--jsx-fragment': passedOn('--jsx-fragment', 'Fragment'),
  '--tsconfig': passedOn('--tsconfig', 'tsconfig.json'),
  '--remote': refused('--remote'),
  '--local': passedOn('--local'),
  '--minify': passedOn('--minify'),
  '--persist-to': passedOn('--persist-to', 'FOLDER'),
  '--live-reload': passedOn('--live-reload'),
  '--test-scheduled': passedOn('--test-scheduled'),
  '--log-level': passedOn('--log-level', 'info'),
  '--show-interactive-dev-session': refused('--show-interactive-dev-session'),
  '--types': untried('writes a file into the checkout', '--types'),
  '--tunnel': refused('--tunnel'),
  '--tunnel-name': refused('--tunnel-name', 'x'),
};
