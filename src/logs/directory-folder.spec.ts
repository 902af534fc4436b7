import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DirectoryFolder } from './directory-folder.js';

const folders: string[] = [];
let root: string;
let folder: DirectoryFolder;
beforeEach(async () => {
  root = join(await mkdtemp(join(tmpdir(), 'directory-folder-')), 'made/when/needed');
  folders.push(join(root, '../../..'));
  folder = new DirectoryFolder(root);
});
afterAll(() => Promise.all(folders.map((path) => rm(path, { recursive: true }))));

describe('a directory of log objects', () => {
  it('has what was put there last, and forgets what is deleted, with the folder once that is empty', async () => {
    await folder.put('job/1', Buffer.from('one'));
    await folder.put('job/1', Buffer.from([0, 255, 10]));
    await folder.put('job/2', Buffer.from('two'));
    expect([...(await folder.get('job/1'))!]).toEqual([0, 255, 10]);
    expect((await listed('job/')).toSorted()).toEqual(['job/1', 'job/2']);
    await folder.delete(['job/1', 'job/none']);
    expect([await folder.get('job/1'), await listed('job/'), await readdir(root)]).toEqual([
      undefined,
      ['job/2'],
      ['job'],
    ]);
    await folder.delete(['job/2', 'other/1']);
    expect([await listed('job/'), await readdir(root)]).toEqual([[], []]);
  });

  it('leaves nothing of an object that could not be put there whole', async () => {
    await mkdir(join(root, 'job/1'), { recursive: true });
    await writeFile(join(root, 'job/1/in-its-place'), '');
    await expect(folder.put('job/1', Buffer.from('one'))).rejects.toThrow();
    expect(await readdir(join(root, 'job'))).toEqual(['1']);
  });

  it('does not take what it cannot read for what is not there', async () => {
    await folder.put('job/1', Buffer.from('one'));
    await expect(folder.get('job')).rejects.toThrow('EISDIR');
    await expect(listed('job/1')).rejects.toThrow('ENOTDIR');
  });

  async function listed(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const some of folder.list(prefix)) keys.push(...some);
    return keys;
  }
});
