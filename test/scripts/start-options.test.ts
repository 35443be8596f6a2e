import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { readStartOptions } from '../../scripts/start-options.ts';
import { root } from '../support/root.ts';
import { WRANGLER_OPTIONS } from '../support/start-options.ts';

test('each option that wrangler dev has is in the table, and none that it has not', async () => {
  const wrangler = fileURLToPath(new URL('../../node_modules/wrangler/bin/wrangler.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [wrangler, 'dev', '--help'], {
    cwd: root,
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
  });
  const names = [...stdout.matchAll(/^ +(?:-\w, +)?(--[a-z-]+)/gm)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(30);
  expect(Object.keys(WRANGLER_OPTIONS).sort()).toEqual(names.sort());
});

describe.each(Object.entries(WRANGLER_OPTIONS))('%s', (name, { fate, args }) => {
  const before = ['--var', 'A:1'];
  const after = ['--minify'];

  test(`is ${fate}`, () => {
    const read = () => readStartOptions([...before, ...args, ...after]);
    if (fate === 'refused') return expect(read).toThrow(name);
    const expected = fate === 'own' ? [...before, ...after] : [...before, ...args, ...after];
    expect(read().passedOn).toEqual(expected);
  });

  test('is the same however it is written', () => {
    const camel = name.replace(/(?<=\w)-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    for (const written of [camel, name]) {
      const [, ...values] = args;
      const joined = values.length === 1 ? [`${written}=${values[0]}`] : [written, ...values];
      const read = () => readStartOptions(joined).passedOn;
      if (fate === 'refused') expect(read, written).toThrow(written);
      else expect(read()).toEqual(fate === 'own' ? [] : joined);
    }
  });
});

describe('the address', () => {
  test('is localhost on both kinds of IP, at 8787, where nobody says anything', () => {
    expect(readStartOptions([])).toEqual({
      port: 8787,
      addresses: ['127.0.0.1', '::1'],
      isOpen: false,
      tls: undefined,
      variables: {},
      envFiles: [],
      environment: undefined,
      hasState: false,
      passedOn: [],
    });
  });

  test.each([
    ['localhost', ['127.0.0.1', '::1']],
    ['127.0.0.1', ['127.0.0.1']],
    ['127.1.2.3', ['127.1.2.3']],
    ['::1', ['::1']],
  ])('may be any of this machine: %s', (ip, addresses) => {
    expect(readStartOptions(['--ip', ip])).toMatchObject({ addresses, isOpen: false, passedOn: [] });
  });

  test.each(['0.0.0.0', '::', '192.168.1.5', 'example.com', '2001:db8::1', '*', ''])(
    'of another machine needs a flag that says what it means: %s',
    (ip) => {
      expect(() => readStartOptions(['--ip', ip])).toThrow('--open-to-the-network');
      expect(readStartOptions([`--ip=${ip}`, '--open-to-the-network'])).toMatchObject({ isOpen: true, passedOn: [] });
    },
  );

  test('is not opened by the flag alone', () => {
    expect(readStartOptions(['--open-to-the-network'])).toMatchObject({ addresses: ['127.0.0.1', '::1'] });
  });

  test.each(['http', '-1', '65536', '1.5', ''])('has a port that is one: %s', (port) => {
    expect(() => readStartOptions(['--port', port])).toThrow('--port 9000');
  });

  test('of the inspector is of this machine', () => {
    for (const option of ['--inspector-ip', '--inspectorIp']) {
      expect(() => readStartOptions([option, '0.0.0.0'])).toThrow('--inspector-ip 0.0.0.0');
    }
  });
});

test('https needs a key and its certificate', () => {
  expect(() => readStartOptions(['--local-protocol', 'https'])).toThrow('--https-key-path');
  const args = ['--local-protocol', 'https', '--https-key-path', 'k.pem', '--https-cert-path', 'c.pem', '--minify'];
  expect(readStartOptions(args)).toMatchObject({ tls: { key: 'k.pem', cert: 'c.pem' }, passedOn: ['--minify'] });
});

test('lists go on up to the next option, variables are read, and short names are known', () => {
  const args = ['--var', 'A:1', 'B:x:y', '-e', 'staging', '--env-file', 'a', 'b', '--var=C:', '--port', '1', 'x.ts'];
  expect(readStartOptions(args)).toMatchObject({
    variables: { A: '1', B: 'x:y', C: '' },
    envFiles: ['a', 'b'],
    environment: 'staging',
    port: 1,
    passedOn: ['--var', 'A:1', 'B:x:y', '-e', 'staging', '--var=C:', 'x.ts'],
  });
  for (const args of [['-r'], ['-lr'], ['-rl']]) expect(() => readStartOptions(args)).toThrow('-r');
});

test('what is refused is refused wherever it stands', () => {
  for (const args of [
    ['--var', '--tunnel'],
    ['--env', '--remote'],
    ['--', '--tunnel'],
    ['--minify', '--'],
    ['-tunnel'],
  ]) {
    expect(() => readStartOptions(args), args.join(' ')).toThrow();
  }
});
