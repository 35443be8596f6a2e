#!/usr/bin/env node
// Stands in for wrangler: what it knows of an account at Cloudflare is in the file that CLOUD names.
import { readFileSync, writeFileSync } from 'node:fs';

const file = process.env.CLOUD;
const cloud = JSON.parse(readFileSync(file, 'utf8'));
const args = process.argv.slice(2);
const [verb, what, name] = args;
const environment = args[args.indexOf('--env') + 1];
cloud.commands.push(args);

function end(code, said) {
  writeFileSync(file, JSON.stringify(cloud));
  if (said !== '') (code === 0 ? process.stdout : process.stderr).write(`${said}\n`);
  process.exit(code);
}

if (!cloud.loggedIn) end(1, 'You are not authenticated. Please run `wrangler login`.');
switch (verb === 'deploy' ? verb : `${verb} ${what}`) {
  case 'queues info':
    if (cloud.queues.includes(name)) end(0, `Queue Name: ${name}`);
    end(1, `Queue "${name}" does not exist. To create it, run: wrangler queues create ${name}`);
    break;
  case 'queues create':
    if (cloud.queues.includes(name)) end(1, 'Queue name is already taken.');
    cloud.queues.push(name);
    end(0, `Created queue '${name}'`);
    break;
  case 'secret list':
    end(0, JSON.stringify((cloud.secrets[environment] ?? []).map((secret) => ({ name: secret, type: 'secret_text' }))));
    break;
  case 'deploy':
    end(0, '');
    break;
  default:
    end(1, `Unknown command: ${args.join(' ')}`);
}
