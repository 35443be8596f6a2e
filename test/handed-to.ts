/**
 * Follows one parameter through the source: `npm run -s handed-to -- src/edge/talk/messages/messages.route.ts answerMessage c`, with the
 * root of another checkout as a fourth word to compare. It prints the functions and files that the value itself is handed to
 * (as an argument, inside an object that is one, or as a member of a class), and how often the way enters a file that it had
 * left. It reads the code in its order; what is handed to an unknown function is not followed.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseSync } from 'rolldown/utils';

interface Node {
  type: string;
  [member: string]: unknown;
}

/** A function or a method, where it stands. */
interface Place {
  file: string;
  name: string;
  node: Node;
  /** The class of a method. */
  owner?: string;
}

const [, , file = '', entry = '', parameter = '', root = '.'] = process.argv;
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && 'type' in value;
const nodeIn = (node: Node, member: string) => (isNode(node[member]) ? (node[member] as Node) : undefined);
const listIn = (node: Node, member: string) => (Array.isArray(node[member]) ? node[member].filter(isNode) : []);
/** What makes another form of the value: the context of a request is handed on in its stead. */
const FORMS = /^(?:contextOf)$/;
const nameOf = (node: Node | undefined) => (typeof node?.name === 'string' ? node.name : undefined);

/** Calls a function with each node below one, in the order of the code. */
function visit(node: Node, see: (node: Node) => void): void {
  see(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, see);
  }
}

const functions = new Map<string, Place>();
const methods = new Map<string, Place[]>();
/** By file and name: where an import comes from. */
const imports = new Map<string, string>();

function addFunction(place: Place): void {
  functions.set(`${place.file} ${place.name}`, place);
}

function readClass(path: string, name: string, body: Node): void {
  for (const member of listIn(body, 'body')) {
    const [key, value] = [nameOf(nodeIn(member, 'key')), nodeIn(member, 'value')];
    if (key === undefined || !value || !/Function/.test(value.type)) continue;
    const place = { file: path, name: `${name}.${key}`, node: value, owner: name };
    if (key === 'constructor') addFunction({ ...place, name });
    methods.set(key, [...(methods.get(key) ?? []), place]);
  }
}

function readFile(path: string): void {
  const { program } = parseSync(path, readFileSync(join(root, path), 'utf8'));
  for (const statement of listIn(program as unknown as Node, 'body')) {
    const source = nodeIn(statement, 'source')?.value;
    if (statement.type === 'ImportDeclaration' && typeof source === 'string' && source.startsWith('.')) {
      for (const specifier of listIn(statement, 'specifiers')) {
        const [local, imported] = [nameOf(nodeIn(specifier, 'local')), nameOf(nodeIn(specifier, 'imported'))];
        imports.set(`${path} ${local}`, `${join(dirname(path), source)} ${imported}`);
      }
    }
    const declared = nodeIn(statement, 'declaration') ?? statement;
    const name = nameOf(nodeIn(declared, 'id'));
    const body = nodeIn(declared, 'body');
    if (name !== undefined && declared.type === 'FunctionDeclaration')
      addFunction({ file: path, name, node: declared });
    if (name !== undefined && body && declared.type === 'ClassDeclaration') readClass(path, name, body);
    for (const variable of listIn(declared, 'declarations')) {
      const [own, init] = [nameOf(nodeIn(variable, 'id')), nodeIn(variable, 'init')];
      if (own !== undefined && init && /Function/.test(init.type)) addFunction({ file: path, name: own, node: init });
    }
  }
}

/** @returns how an expression writes a value: `c`, `this.#c` or `request.c`; undefined for any other expression */
function writtenAs(node: Node | undefined): string | undefined {
  if (!node) return undefined;
  if (node.type === 'Identifier') return nameOf(node);
  if (node.type === 'CallExpression' && FORMS.test(nameOf(nodeIn(node, 'callee')) ?? '')) {
    return writtenAs(listIn(node, 'arguments')[0]);
  }
  if (node.type === 'TSNonNullExpression' || node.type === 'TSAsExpression')
    return writtenAs(nodeIn(node, 'expression'));
  if (node.type !== 'MemberExpression') return undefined;
  const [object, property] = [nodeIn(node, 'object'), nodeIn(node, 'property')];
  const of = object?.type === 'ThisExpression' ? 'this' : writtenAs(object);
  const isPrivate = property?.type === 'PrivateIdentifier';
  return of === undefined || node.computed === true ? undefined : `${of}.${isPrivate ? '#' : ''}${nameOf(property)}`;
}

/** @returns under which names a parameter has what an argument hands over, if that has the value in it */
function received(argument: Node, given: Node | undefined, names: ReadonlySet<string>): string[] {
  const target = given?.type === 'AssignmentPattern' ? nodeIn(given, 'left') : given;
  const written = writtenAs(argument);
  if (written !== undefined) return names.has(written) && target ? [nameOf(target) ?? ''] : [];
  if (argument.type !== 'ObjectExpression' || !target) return [];
  return listIn(argument, 'properties').flatMap((property) => {
    const value = writtenAs(nodeIn(property, property.type === 'SpreadElement' ? 'argument' : 'value'));
    if (value === undefined || !names.has(value)) return [];
    const key = nameOf(nodeIn(property, 'key'));
    if (nameOf(target) !== undefined) return [key === undefined ? `${nameOf(target)}` : `${nameOf(target)}.${key}`];
    const found = listIn(target, 'properties').find((one) => nameOf(nodeIn(one, 'key')) === key);
    const local = found && nodeIn(found, 'value');
    return [nameOf(local?.type === 'AssignmentPattern' ? nodeIn(local, 'left') : local) ?? ''];
  });
}

/** @returns whether code reads a member of its class */
function uses(code: Node, name: string): boolean {
  let isUsed = false;
  visit(code, (node) => {
    isUsed ||= writtenAs(node) === name;
  });
  return isUsed;
}

/** @returns what a call calls; undefined where that is not known */
function calledBy(call: Node, { file: from, owner }: Place): Place | undefined {
  const callee = nodeIn(call, 'callee');
  if (callee?.type === 'Identifier') {
    const name = nameOf(callee);
    return functions.get(imports.get(`${from} ${name}`) ?? `${from} ${name}`);
  }
  if (callee?.type !== 'MemberExpression') return undefined;
  const known = methods.get(nameOf(nodeIn(callee, 'property')) ?? '') ?? [];
  const isOwn = nodeIn(callee, 'object')?.type === 'ThisExpression';
  const found = isOwn ? known.filter((place) => place.file === from && place.owner === owner) : known;
  return found.length === 1 ? found[0] : undefined;
}

const way: string[] = [];
const seen = new Set<string>();

/** Enters a function with the value under some names, and follows the calls that hand it on. */
function follow(place: Place, given: readonly string[], isHanded = true): void {
  const key = `${place.file} ${place.name} ${[...given].sort().join(' ')}`;
  if (seen.has(key)) return;
  seen.add(key);
  // A method that reads a member of its class is handed nothing; what it calls may be.
  if (isHanded) way.push(`${place.file} ${place.name}`);
  const names = new Set(given.filter((name) => name !== ''));
  visit(place.node, (node) => {
    if (node.type === 'VariableDeclarator' || node.type === 'AssignmentExpression') {
      const isVariable = node.type === 'VariableDeclarator';
      const [target, value] = [nodeIn(node, isVariable ? 'id' : 'left'), nodeIn(node, isVariable ? 'init' : 'right')];
      const written = writtenAs(target);
      if (!target || !value) return;
      for (const name of received(
        value,
        written === undefined ? target : { type: 'Identifier', name: written },
        names,
      )) {
        if (name === '' || names.has(name)) continue;
        names.add(name);
        // A member of the class has the value in all methods.
        if (!name.startsWith('this.')) continue;
        for (const method of [...methods.values()].flat()) {
          if (method.file === place.file && method.owner === place.owner && uses(method.node, name))
            kept.push([method, name]);
        }
      }
    }
    if (node.type !== 'CallExpression' && node.type !== 'NewExpression') return;
    const called = calledBy(node, place);
    if (!called) return;
    const parameters =
      listIn(called.node, 'params').length > 0
        ? listIn(called.node, 'params')
        : listIn(nodeIn(called.node, 'params') ?? called.node, 'items');
    const handed = listIn(node, 'arguments').flatMap((argument, at) => received(argument, parameters[at], names));
    if (handed.length > 0) follow(called, handed);
  });
}

const kept: [Place, string][] = [];
for (const path of globSync('src/**/*.{ts,tsx}', { cwd: root })) readFile(path);
const begin = functions.get(`${file} ${entry}`);
if (!begin) throw new Error(`There is no function ${entry} in ${file}.`);
follow(begin, [parameter]);
for (let next = kept.shift(); next; next = kept.shift()) follow(next[0], [next[1]], false);

const files = way.map((step) => step.split(' ')[0]);
const stays = files.filter((one, at) => one !== files[at - 1]);
process.stdout.write(
  `${way.join('\n')}\n\n${new Set(way).size} functions in ${new Set(files).size} files; ${stays.length - new Set(stays).size} times into a file that it had left\n`,
);
