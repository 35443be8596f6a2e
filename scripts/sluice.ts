#!/usr/bin/env node
/** The command of the package, `sluice`: makes a folder with an edge, starts and deploys it, creates a token, and sends a sample webhook. */

const USAGE = `sluice init DIR [--plugins webhooks,agents]   creates a folder with your own gateway
In that folder:
sluice start [--port 9000]                  runs it on this machine with wrangler dev
sluice build                                called by wrangler; adds the simulator for wrangler dev
sluice deploy [--dry-run]                   deploys it with its queues and its store
sluice token --account you --scopes admin   creates a token with SIGNING_SECRET
sluice webhook github issue.json            signs a sample event, and sends it to the running gateway
Anywhere:
sluice simulator [--port 4010]              starts the simulator of the Claude API without Sluice`;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 12)) {
  console.error(`sluice requires Node 22.12 or newer. This is Node ${process.versions.node}.`);
  process.exit(1);
}

const COMMANDS: Readonly<Record<string, () => Promise<unknown>>> = {
  init: () => import('./init.ts'),
  build: () => import('./build-edge.ts'),
  start: () => import('./start.ts'),
  deploy: () => import('./deploy.ts'),
  token: () => import('./token.ts'),
  webhook: () => import('./webhook.ts'),
  simulator: () => import('./simulator.ts'),
};

// Remove the name of the command from the arguments: the script of the command reads only those after it.
const [name = ''] = process.argv.splice(2, 1);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
if (command) await command();
else if (['--help', '-h'].includes(name)) console.log(USAGE);
else {
  console.error(`${name === '' ? 'A command is required.' : `Unknown command ${name}.`}\nUsage:\n${USAGE}`);
  process.exit(1);
}
