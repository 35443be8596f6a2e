import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findDeliverUrlFault, isLoopback, isOrigin, isUrlHost, suggestOrigin } from '#edge/kit/http/headers/hosts.ts';
import { tryCases } from '#test/support/property-cases.ts';

describe('findDeliverUrlFault', () => {
  test.each([
    'http://hooks.example.com/x',
    'ftp://hooks.example.com/x',
    'javascript:alert(1)',
    'hooks.example.com',
    '',
    'https://user:password@hooks.example.com/',
    'https://user@hooks.example.com/',
    'https://localhost/',
    'https://app.localhost./',
    'https://printer/',
    'https://router.local/',
    'https://10.0.0.1.nip.io/',
    'https://169-254-169-254.sslip.io/latest',
    'https://anything.localtest.me./',
    'https://metadata.google.internal/computeMetadata/v1/',
    'https://127.0.0.1/',
    'https://127.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://0/',
    'https://10.1.2.3/',
    'https://100.64.0.1/',
    'https://169.254.169.254/latest/meta-data/',
    'https://172.16.0.1/',
    'https://172.31.255.255/',
    'https://192.168.0.1/',
    'https://192.0.2.1/',
    'https://192.31.196.1/',
    'https://192.88.99.1/',
    'https://198.18.0.1/',
    'https://198.51.100.1/',
    'https://203.0.113.1/',
    'https://224.0.0.1/',
    'https://255.255.255.255/',
    'https://[::1]/',
    'https://[::]/',
    'https://[::ffff:10.0.0.1]/',
    'https://[64:ff9b::a00:1]/',
    'https://[fc00::1]/',
    'https://[fd12:3456::1]/',
    'https://[fe80::1]/',
    'https://[ff02::1]/',
    'https://[2001:db8::1]/',
    'https://[2001::1]/',
    'https://[2001:1::1]/',
    'https://[2001:2::1]/',
    'https://[2001:10::1]/',
    'https://[2001:20::1]/',
    'https://[3fff::1]/',
    'https://[3fff:fff::1]/',
    'https://[2002:a00:1::]/',
  ])('rejects %s', (url) => {
    expect(findDeliverUrlFault(url, false)).toBeDefined();
  });

  test('rejects any private IPv4 address, in any notation', () => {
    const privates = fc.oneof(
      fc.tuple(fc.constantFrom(10, 127, 0), fc.nat(255), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(192), fc.constant(168), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(169), fc.constant(254), fc.nat(255), fc.nat(255)),
    );
    tryCases(100, privates, ([a, b, c, d]) => {
      const number = ((a * 256 + b) * 256 + c) * 256 + d;
      const octal = [a, b, c, d].map((part) => `0${part.toString(8)}`).join('.');
      for (const host of [`${a}.${b}.${c}.${d}`, String(number), `0x${number.toString(16)}`, octal]) {
        expect(findDeliverUrlFault(`https://${host}/`, false), host).toBeDefined();
      }
    });
  });
});

test.each([
  'https://hooks.example.com/labels?token=1',
  'https://hooks.example.com:8443/',
  'https://1.1.1.1/',
  'https://172.32.0.1/',
  'https://100.128.0.1/',
  'https://192.31.195.1/',
  'https://192.88.98.1/',
  'https://[2606:4700:4700::1111]/',
  'https://[2001:4860:4860::8888]/',
  'https://[2001:200::1]/',
  'https://[3fff:1000::1]/',
  'https://bücher.example/',
  'https://notnip.io/',
  'https://nip.io.example.com/',
])('findDeliverUrlFault accepts %s', (url) => {
  expect(findDeliverUrlFault(url, false)).toBeUndefined();
  expect(findDeliverUrlFault(url, true)).toBeUndefined();
});

test('loopback URLs are accepted only in development, where they may use http', () => {
  for (const url of ['http://localhost:3000/x', 'http://127.0.0.1:1/', 'http://[::1]:1/', 'http://app.localhost/']) {
    expect(isLoopback(url)).toBe(true);
    expect(findDeliverUrlFault(url, true)).toBeUndefined();
    expect(findDeliverUrlFault(url, false)).toBeDefined();
  }
  for (const url of [
    'http://hooks.example.com/',
    'https://10.0.0.1/',
    'http://localhost.example.com/',
    'ftp://localhost/',
    'capacitor://localhost',
    'chrome-extension://localhost',
    'ws://localhost:3000/',
    'file://localhost/',
  ]) {
    expect(isLoopback(url)).toBe(false);
    expect(findDeliverUrlFault(url, true)).toBeDefined();
  }
});

test('isUrlHost accepts only hosts as URLs normalize them, with an optional port', () => {
  for (const host of ['hooks.example.com', 'hooks.example.com:8443', '1.1.1.1', '[2606:4700:4700::1111]']) {
    expect(isUrlHost(host), host).toBe(true);
  }
  for (const host of [
    '',
    '*',
    'https://a.example',
    'a.example/x',
    'A.example',
    'a b',
    'a.example:443',
    'u@a.example',
  ]) {
    expect(isUrlHost(host), host).toBe(false);
  }
});

test('isOrigin accepts a scheme and a host, of any scheme, without a path or wildcard', () => {
  const apps = ['capacitor://localhost', 'ionic://localhost', 'tauri://localhost', 'chrome-extension://abcdef'];
  const pages = [
    'https://app.example.com',
    'http://localhost:3000',
    'moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc',
  ];
  for (const origin of [...apps, ...pages]) expect(isOrigin(origin), origin).toBe(true);
  const wrong = ['null', '*', 'app.example.com', 'https://app.example.com/', 'https://*.example.com', 'capacitor://'];
  for (const text of [...wrong, 'capacitor://localhost/', 'https://a@b', 'file:///a', 'HTTPS://app.example.com'])
    expect(isOrigin(text), text).toBe(false);
});

test.each([
  ['https://shop.example/', 'https://shop.example'],
  ['https://shop.example/chat?x=1', 'https://shop.example'],
  ['HTTPS://Shop.Example', 'https://shop.example'],
  ['https://shop.example:443', 'https://shop.example'],
  ['capacitor://localhost/', 'capacitor://localhost'],
])('suggestOrigin suggests an origin for %s', (text, origin) => {
  expect(isOrigin(text)).toBe(false);
  expect(suggestOrigin(text)).toBe(`. Did you mean ${origin}?`);
});

test.each(['shop.example', 'https://*.shop.example', 'mailto:a@shop.example', '', 7])(
  'suggestOrigin suggests no origin for %j',
  (text) => {
    expect(suggestOrigin(text)).toBe('');
  },
);
