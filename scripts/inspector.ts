/**
 * The local runtime's own inspector, which wrangler opens whether anybody wants one or not: it runs code in the Worker for
 * whatever reaches its port, web pages too, whose WebSockets every server has to judge by itself.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';

/**
 * Hides it where nobody has asked for one: on one of the sixteen million addresses that this machine has for itself, and on
 * one of its ports, no page finds it. What wrangler itself has an inspector for works without.
 *
 * @param folder where a file is put that starts the runtime
 * @returns the environment that has wrangler start it so; empty where the system has one such address only, as macOS
 */
export async function hideInspector(folder: string): Promise<Record<string, string>> {
  if (process.platform === 'win32' || process.env.MINIFLARE_WORKERD_PATH !== undefined) return {};
  const address = `127.${[1, 2, 3].map(() => randomInt(1, 255)).join('.')}`;
  if (!(await canListen(address))) return {};
  const { default: runtime } = createRequire(import.meta.url)('workerd') as { default: string };
  const path = join(folder, 'workerd');
  writeFileSync(path, scriptOf(runtime, address), { mode: 0o700 });
  return { MINIFLARE_WORKERD_PATH: path };
}

/** Puts the address in the place of the one that wrangler has written down. */
function scriptOf(runtime: string, address: string): string {
  return `#!/bin/sh
left=$#
while [ "$left" -gt 0 ]; do
  case "$1" in
    --inspector-addr=*) set -- "$@" '--inspector-addr=${address}:0' ;;
    *) set -- "$@" "$1" ;;
  esac
  shift
  left=$((left - 1))
done
exec '${runtime.replaceAll("'", `'\\''`)}' "$@"
`;
}

async function canListen(address: string): Promise<boolean> {
  const server = createServer().listen(0, address);
  // It fails where there is no such address.
  const listens = await once(server, 'listening').then(
    () => true,
    () => false,
  );
  server.close();
  return listens;
}
